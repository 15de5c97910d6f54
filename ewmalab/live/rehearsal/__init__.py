"""The whole live stack on loopback: price server, clock, rehearsal."""
