"""Discovery of datasets: categories, images, masks and labels."""
