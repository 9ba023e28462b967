"""The use of Ray: sessions, capacity, tasks, training, retries and progress."""
