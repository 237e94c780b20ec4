"""Rows of one file, format by format, each with the line or row that it stands at."""
