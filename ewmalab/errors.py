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
    │   └── UnknownForecaster    a name that is neither built-in nor of the form package.module:attribute
    ├── FormatError          a price cannot be written in a form that validators accept
    ├── PredictionError      a prediction file or realised prices that cannot be read
    ├── ExperimentError      an experiment directory that is missing, broken or not comparable
    ├── EngineError          workers that cannot be reached, or lost a task
    ├── StateError           a live state that is damaged, missing, or locked by another process
    └── ChainError           the chain cannot be reached, or does not know a key

Every message names what was found, the limit it broke, and what to do about it. Each class has the exit code with which
the command line ends: one code for one kind of mistake.
"""

from __future__ import annotations

FAILED, USAGE, DATA, OUTSIDE, FORECASTER = 1, 2, 3, 4, 5
"""Exit codes: a check or another result is not well; what was typed or configured; data and files; feeds, the chain and
clusters; a forecaster."""


class EwmalabError(Exception):
    """Base of every error that a user can fix; the command line prints it without a traceback.

    Attributes
    ----------
    exit_code : int
        See `FAILED` and the others.
    """

    exit_code = FAILED


class ConfigError(EwmalabError):
    """A settings file, environment variable or flag has an invalid value."""

    exit_code = USAGE


class RulebookError(EwmalabError):
    """The rulebook does not know this date, asset or competition."""

    exit_code = USAGE


class BarsError(EwmalabError):
    """Bars break a rule of `ewmalab.market.bars.Bars`."""

    exit_code = DATA


class DataError(EwmalabError):
    """The cache lacks data that a command needs."""

    exit_code = DATA


class MissingDataError(DataError):
    """Ranges that a command needs were never fetched."""


class CorruptPartitionError(DataError):
    """The bytes of a cached partition have changed since they were written."""


class FeedError(EwmalabError):
    """A price feed cannot answer."""

    exit_code = OUTSIDE


class FeedAuthError(FeedError):
    """A feed's key is missing or was rejected."""


class FeedUnavailable(FeedError):
    """A feed failed on every retry."""


class ForecasterError(EwmalabError):
    """A forecaster cannot be loaded, or broke its protocol."""

    exit_code = FORECASTER


class UnknownForecaster(ForecasterError):
    """A name is neither that of a built-in forecaster nor of the form package.module:attribute."""

    exit_code = USAGE


class FormatError(EwmalabError):
    """A price cannot be written in a form that validators accept."""

    exit_code = DATA


class PredictionError(EwmalabError):
    """A prediction file or a list of realised prices cannot be read."""

    exit_code = DATA


class ExperimentError(EwmalabError):
    """An experiment directory is missing, broken or not comparable."""

    exit_code = DATA


class EngineError(EwmalabError):
    """A cluster of workers cannot be reached, or lost a task permanently."""

    exit_code = OUTSIDE


class StateError(EwmalabError):
    """A live state is damaged, missing, or locked by another process."""

    exit_code = DATA


class ChainError(EwmalabError):
    """The chain cannot be reached, or does not know a key."""

    exit_code = OUTSIDE
