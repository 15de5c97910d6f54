"""Rehearsals: the whole live stack on loopback, with a price server and its clock."""
