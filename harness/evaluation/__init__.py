"""Scores a variant example by example."""
