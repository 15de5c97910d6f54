"""Price bars: their type, their cache on disk and the feeds they come from."""
