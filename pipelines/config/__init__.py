"""The configuration of a run: its fields, their options and their defaults."""
