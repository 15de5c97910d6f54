"""Forecasters: state from bars, paths from state. Pure: no clock, no files, no network."""
