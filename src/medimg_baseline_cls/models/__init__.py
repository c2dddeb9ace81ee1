"""Networks by name, their weights, their frozen and trained parts."""
