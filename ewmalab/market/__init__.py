"""Price bars: their type, their cache on disk and their feeds."""
