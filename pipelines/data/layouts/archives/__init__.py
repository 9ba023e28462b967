"""Layouts of single datasets whose archives have a form of their own."""
