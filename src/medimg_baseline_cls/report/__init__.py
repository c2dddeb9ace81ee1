"""One page from a run folder."""
