"""Exact distances, the greedy coreset, and the memory bank with its scores (equations 9 and 10)."""
