"""One file for each command, under its public name."""
