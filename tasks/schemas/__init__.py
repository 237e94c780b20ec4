"""Rows in the columns that public data sets have, read into texts and fields."""
