"""Predictions to metrics: thresholds from VAL, intervals, mistakes, comparisons."""
