"""Unattended operation: train what changed, test it, promote it, score the day's images."""
