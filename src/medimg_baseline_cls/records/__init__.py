"""Typed numbers: what an evaluation finds, as it travels between rooms and to JSON and back."""
