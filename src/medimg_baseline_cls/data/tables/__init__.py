"""Tables in, listed images out: columns, labels, paths, splits."""
