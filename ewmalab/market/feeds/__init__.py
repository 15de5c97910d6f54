"""Price feeds behind one protocol."""
