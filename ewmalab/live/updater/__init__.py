"""The updater: keeps bars and states current."""
