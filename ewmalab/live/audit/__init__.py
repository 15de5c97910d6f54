"""Audit of live answers: answer log, parity check, track record and probe."""
