"""Several variants trained in one pass over the shared frozen base."""
