"""The rule: what it decides, and the sentences that say so."""
