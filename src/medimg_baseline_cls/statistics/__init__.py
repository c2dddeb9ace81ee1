"""Arrays in, numbers out: the statistics of a diagnostic test, usable without any of our files."""
