"""Interleaved, paired timing of inference, and when to stop."""
