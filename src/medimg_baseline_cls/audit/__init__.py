"""The audit: images, labels, patients and splits in, findings out, before a model sees them."""
