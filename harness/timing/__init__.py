"""Interleaved, paired timing of a base model and its variants, in one process or in fresh ones.

plan -> processes (worker) -> session -> arms, decoding, rounds -> rows, one a timed call
"""
