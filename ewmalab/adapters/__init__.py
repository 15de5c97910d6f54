"""Replacements for functions of other programs."""
