"""What ReConPatch on Ray costs, beside what others cost, on the same arrays and images: `python -m benchmarks`."""
