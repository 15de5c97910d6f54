"""Settings: their schema, and their layers with the source of each value."""

from ewmalab.settings.layers import LoadedSettings, load_settings

__all__ = ["LoadedSettings", "load_settings"]
