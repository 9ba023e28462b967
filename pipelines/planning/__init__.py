"""Planning of a run: which jobs are missing or out of date, and how long they will take."""
