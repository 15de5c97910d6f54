"""Experiment directories: all that is needed to read a run, or to do it again."""
