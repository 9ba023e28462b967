"""Ray: sessions, capacity, tasks, training, retries and progress."""
