"""Intervals, tests and confidence sets of paired series: pure statistics.

Rows are observations in time order, which may depend on their neighbours; columns are what is compared on them. Of a
*loss* less is better, and a *difference* is that of two losses on the same row.

A *block* is the number of rows over which dependence is allowed for: chosen from the data, but at least twice the
number of rows that share a part of what they observe. Few blocks fit a short series, where percentile intervals and
asymptotic tests are far too sure of themselves. Intervals are therefore widened by Student's t with as many degrees of
freedom as there are blocks less one, and the test takes its null distribution from an orthonormal-series variance,
which keeps its size in short, dependent series.
"""
