"""Benchmarks that compare this project with other implementations on the same data: `python -m benchmarks`."""
