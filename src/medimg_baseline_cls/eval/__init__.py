"""Predictions to figures: thresholds from VAL, metrics, mistakes, plots."""
