"""What a run reports: run.json and the terminal."""
