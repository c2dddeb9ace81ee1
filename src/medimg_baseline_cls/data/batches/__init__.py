"""A pixel array in, batches out: loading and augmentation."""
