"""The base model: loading, shapes, and the projections that its roles name."""
