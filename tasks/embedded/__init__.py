"""Rows that need no network, in the public sets' columns: read from a wheel, or generated."""
