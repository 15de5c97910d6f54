"""Sweeps: many values of settings judged on the same prompts."""
