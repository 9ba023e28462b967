"""Model versions, drift and what needs attention."""
