"""Experiment directories: everything needed to read a run or to reproduce it."""
