"""Mirrors run folders in experiment trackers: MLflow, TensorBoard, and those of other packages."""
