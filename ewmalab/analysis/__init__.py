"""Comparing and ranking what was replayed or handed in."""
