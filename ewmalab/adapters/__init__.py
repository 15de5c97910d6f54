"""Functions of other programs, served by ours."""
