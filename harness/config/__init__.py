"""The configuration: schema, validation, composing; target sets and the catalog of methods."""
