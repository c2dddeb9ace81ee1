"""Images in, batches out: index, split, cache, loaders, augmentation, phantoms."""
