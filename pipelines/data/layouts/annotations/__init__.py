"""Layouts of annotation tools: images with annotation files, in which an image without annotations is good."""
