"""The exceptions that ewmalab raises for problems a user can fix.

::

    EwmalabError
    ├── ConfigError          a settings file, environment variable or flag has an invalid value
    ├── RulebookError        a date, asset or competition that the rulebook does not know
    ├── BarsError            bars that break a rule of `Bars` (unsorted, non-positive, ...)
    ├── DataError            the cache lacks data that a command needs
    │   ├── MissingDataError     ranges that were never fetched; names them and the command that fetches them
    │   └── CorruptPartitionError   a partition whose bytes have changed since they were written
    ├── FeedError            a price feed cannot answer
    │   ├── FeedAuthError        the key is missing or was rejected
    │   └── FeedUnavailable      every retry failed
    ├── ForecasterError      a forecaster cannot be loaded or broke its protocol
    ├── FormatError          a price cannot be written in a form that validators accept
    ├── PredictionError      a prediction file or realised prices that cannot be read
    ├── ExperimentError      an experiment directory that is missing, broken or not comparable
    ├── EngineError          workers that cannot be reached, or lost a task
    ├── StateError           a live state that is damaged, missing, or locked by another process
    └── ChainError           the chain cannot be reached, or does not know a key

Every message names what was found, the limit it broke, and what to do about it.
"""

from __future__ import annotations


class EwmalabError(Exception):
    """Base of every error that a user can fix; the command line prints it without a traceback."""


class ConfigError(EwmalabError):
    """A settings file, environment variable or flag has an invalid value."""


class RulebookError(EwmalabError):
    """The rulebook does not know this date, asset or competition."""


class BarsError(EwmalabError):
    """Bars break a rule of `ewmalab.market.bars.Bars`."""


class DataError(EwmalabError):
    """The cache lacks data that a command needs."""


class MissingDataError(DataError):
    """Ranges that a command needs were never fetched."""


class CorruptPartitionError(DataError):
    """The bytes of a cached partition have changed since they were written."""


class FeedError(EwmalabError):
    """A price feed cannot answer."""


class FeedAuthError(FeedError):
    """A feed's key is missing or was rejected."""


class FeedUnavailable(FeedError):
    """A feed failed on every retry."""


class ForecasterError(EwmalabError):
    """A forecaster cannot be loaded, or broke its protocol."""


class FormatError(EwmalabError):
    """A price cannot be written in a form that validators accept."""


class PredictionError(EwmalabError):
    """A prediction file or a list of realised prices cannot be read."""


class ExperimentError(EwmalabError):
    """An experiment directory is missing, broken or not comparable."""


class EngineError(EwmalabError):
    """A cluster of workers cannot be reached, or lost a task permanently."""


class StateError(EwmalabError):
    """A live state is damaged, missing, or locked by another process."""


class ChainError(EwmalabError):
    """The chain cannot be reached, or does not know a key."""
