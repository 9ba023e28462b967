"""The stages of a run: index, extract, fit, select, score, fuse."""
