"""The HTML report of a run or a nightly run: an overview, one page per category, and their images."""
