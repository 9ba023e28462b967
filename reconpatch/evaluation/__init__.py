"""How well scores separate defective from good images, and how models compare."""
