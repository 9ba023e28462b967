"""Benchmarks of ReConPatch on Ray against others, on the same arrays and images: `python -m benchmarks`."""
