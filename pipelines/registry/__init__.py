"""Model versions, drift records and the state of each category."""
