"""The HTML report of a run or a nightly run: an overview, one page a category, and their pictures."""
