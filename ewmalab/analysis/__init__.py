"""Compare and rank replayed forecasters and submitted predictions."""
