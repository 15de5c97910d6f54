"""The forecaster ``seasonal-har`` and its fit."""

from ewmalab.forecast.seasonal_har.forecaster import SeasonalHar

__all__ = ["SeasonalHar"]
