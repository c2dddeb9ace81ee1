"""Folders in, listed images out: class folders, split folders, masks next to images."""
