"""Procedurally drawn chest radiographs with known lesions: for the demo and for tests."""
