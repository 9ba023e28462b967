"""A run or a night as pages for people: `index.html`, a page a category, and the pictures they show."""
