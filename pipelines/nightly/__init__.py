"""Unattended operation: train the categories that changed, test and promote their models, and score new images."""
