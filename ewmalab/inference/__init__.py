"""Intervals, tests and confidence sets of paired series: pure statistics.

Rows are observations in time order, which may depend on their neighbours. Columns are the alternatives compared on
them. A smaller *loss* is better. A *difference* is that of two losses on the same row.

A *block* is the number of rows over which dependence is allowed for: chosen from the data, but at least twice the
number of rows that share a part of what they observe. A short series holds few blocks, and percentile intervals and
asymptotic tests are then far too confident. Intervals are therefore widened by Student's t with as many degrees of
freedom as there are blocks less one. The test takes its null distribution from an orthonormal-series variance, which
keeps its size in short, dependent series.
"""
