"""Replay: prompts in time order, each answered with what was known then, scored with what came."""
