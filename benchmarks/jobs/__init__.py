"""Benchmarks of complete commands, each in a separate process."""
