"""Layers that two or more model plugins share, and only those."""
