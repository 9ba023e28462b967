"""Pre-trained networks and the patch features taken from them (section 3.1 of the paper)."""
