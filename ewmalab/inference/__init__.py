"""Intervals and tests of paired series: pure statistics, no domain."""
