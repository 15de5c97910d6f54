"""Sweeps: judge many values of settings on the same prompts."""
