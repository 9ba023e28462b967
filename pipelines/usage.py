"""What is raised for bad usage, wherever it comes to light; nothing is imported with it."""

from __future__ import annotations


class UsageError(ValueError):
    """Bad usage or input: one line for the user, exit code 2."""
