"""Adapter methods that PEFT lacks."""
