"""Evaluation: metrics, comparison of models, the acceptance test, training outliers and drift."""
