"""A run folder in, and nothing else; a page, tables and documents out."""
