"""The command line: commands, their options, and the configuration that the options resolve to."""
