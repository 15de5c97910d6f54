"""`Table`: the columns of a file as they stand, and `Hints`: what a user says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Hints:
    """What the options of an import say of a file; None and empty values leave it to the file.

    Attributes
    ----------
    columns : mapping
        Role (timestamp, open, high, low, close, close_time, symbol) to the column's name or its number from 1 on.
    timezone : str or None
        Zone of the clock that the times were read from, for example ``America/New_York``.
    labels : str or None
        ``open`` or ``close``: the moment of a bar that its time names.
    unit : str or None
        ``s``, ``ms``, ``us`` or ``ns``: unit of times that are numbers.
    time_format : str or None
        Format of times that are text, as in `datetime.strptime`.
    decimal : str or None
        ``.`` or ``,``: the decimal mark.
    symbol : str or None
        The only symbol to import from a file of several.
    interval : str or None
        ``1m`` states that few bars far apart are minute bars.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    timezone: str | None = None
    labels: str | None = None
    unit: str | None = None
    time_format: str | None = None
    decimal: str | None = None
    symbol: str | None = None
    interval: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a file by position, unconverted.

    Attributes
    ----------
    kind : str
        For example ``CSV``.
    names : tuple of str
        The header; empty texts for columns without a name.
    frame : DataFrame
        Columns are numbered from 0 on; text cells are stripped.
    header : bool
        Whether the file names its columns.
    notes : tuple of str
        What was left out.
    metadata : mapping
        Of the Parquet schema.
    tickers : tuple of str
        The ticker of each column if the header has tickers, else empty.
    unfinished : bool
        Whether the last row has no line end, so that its last number may be cut.
    """

    kind: str
    names: tuple[str, ...]
    frame: pd.DataFrame
    header: bool
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tickers: tuple[str, ...] = ()
    unfinished: bool = False
