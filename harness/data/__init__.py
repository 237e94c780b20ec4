"""Tasks' examples -> token batches."""
