"""Benchmarks of nightly runs: the cost of each stage, and predictions for larger nightly runs."""
