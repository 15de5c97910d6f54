"""The forecaster ``ewma``."""

from ewmalab.forecast.ewma.forecaster import Ewma, EwmaState

__all__ = ["Ewma", "EwmaState"]
