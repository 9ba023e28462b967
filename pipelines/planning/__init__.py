"""What is missing or stale, and how long it will take."""
