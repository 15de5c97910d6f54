"""Replay: answer prompts in time order from what was known at each, and score them on the realised paths."""
