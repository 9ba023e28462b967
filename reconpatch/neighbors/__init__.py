"""Exact distances, the greedy coreset and the memory bank (equations 9 and 10)."""
