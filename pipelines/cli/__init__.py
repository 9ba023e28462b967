"""The command line: options and the configuration they resolve to."""
