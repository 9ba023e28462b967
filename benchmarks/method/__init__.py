"""Benchmarks of the method on arrays in memory, in one process."""
