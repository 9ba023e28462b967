"""Benchmarks of the method: arrays in memory, in one process."""
