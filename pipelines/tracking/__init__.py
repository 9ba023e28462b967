"""Records of a run: run.json, the failures and metrics files, and the terminal output."""
