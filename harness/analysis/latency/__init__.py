"""Rows of timed calls -> ratios with intervals, and the cost model."""
