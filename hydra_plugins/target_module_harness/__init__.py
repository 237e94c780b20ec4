"""Hydra plugins of the harness: the grouped launcher, and target sets by any spelling."""
