"""Directory layouts of datasets; `detect` finds the one of a data root."""
