"""The updater, which keeps bars and states current."""
