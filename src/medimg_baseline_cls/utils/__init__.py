"""Chores that know nothing of images: files, seeds, devices, runs, logs."""
