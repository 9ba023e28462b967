"""Readers of image files: each returns the samples that a file stores."""
