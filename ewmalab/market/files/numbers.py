"""Prices as text, with decimal points or commas, as float64."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from ewmalab.errors import BarsError

MISSING = ("", "nan", "null", "none", "na", "n/a", "#n/a", "n.a.", "nat", "<na>", "\\n", "-", "--")
_THOUSANDS = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d\d)+,\d{3})(?:\.\d*)?"  # also by lakh, as in India
_POINTS = r"[-+]?\d{1,3}(?:\.\d{3})+"
_GAPS = " '\u2019\u00a0\u2009\u202f"  # separators of thousands that are no decimal mark
_GAPPED = re.compile(rf"[-+]?\d{{1,3}}(?:[{_GAPS}]\d{{3}})+(?:[.,]\d*)?")
_DECIMAL_COMMA = r"[-+]?(?:\d+|\d{1,3}(?:[. ']\d{3})+),\d+"


def decimal_mark(columns: list[pd.Series[Any]], given: str | None, others: Iterable[pd.Series[Any]] = ()) -> str:
    """Return the decimal mark of the columns of prices, which all share one.

    Parameters
    ----------
    columns : list of (n,) Series
        Prices.
    given : str or None
        What the user says.
    others : iterable of (n,) Series
        Further columns, whose decimal commas cast doubt on points.

    Raises
    ------
    BarsError
        If every comma could be a decimal mark as well as a separator of thousands, or if marks are mixed.
    """
    if given:
        return given
    texts = [text for column in columns for text in _texts(column)]
    commas = [text for text in texts if "," in text]
    if not commas:
        if texts and all(re.fullmatch(_POINTS, text) for text in texts):
            comma = next((text for one in others for text in _texts(one) if re.fullmatch(_DECIMAL_COMMA, text)), None)
            if comma is not None:
                raise BarsError(f"{texts[0]!r} beside {comma!r} may have points of thousands; pass --decimal , or .")
        return "."
    thousands = all(re.fullmatch(_THOUSANDS, text) for text in commas)
    decimals = all(re.fullmatch(_DECIMAL_COMMA, text) for text in commas)
    points = any("." in text for text in texts if "," not in text)
    if thousands and (points or not decimals):
        return "."
    if decimals and not thousands and not points:
        return ","
    what = "a decimal comma or a comma of thousands" if thousands and decimals else "no number with one kind of comma"
    raise BarsError(f"{commas[0]!r} is {what}; pass --decimal , or --decimal .")


def floats(column: pd.Series[Any], name: str, mark: str) -> npt.NDArray[np.float64]:
    """Return a column as float64, NaN where it is missing; every text converts as Python's `float` would.

    Raises
    ------
    BarsError
        If a value is not a number.
    """
    if pd.api.types.is_bool_dtype(column.dtype):
        raise BarsError(f"column {name} has true and false, which are not numbers")
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan)
    values = column.astype(object).where(column.notna(), None).tolist()
    if any(isinstance(value, (bool, list, dict)) for value in values):
        raise BarsError(f"column {name} has values that are not numbers")
    if not any(isinstance(value, str) for value in values):
        return np.array([np.nan if value is None else _number(value, name) for value in values], np.float64)
    texts = [None if value is None else str(value).strip() for value in values]
    texts = [None if text is None or text.lower() in MISSING else _plain(_bare(text), mark) for text in texts]
    try:
        # keeps the decimal as it stands, unlike the default reader of pandas
        return np.asarray(pa.array(texts, pa.string()).cast(pa.float64()).to_pandas(), np.float64)
    except pa.ArrowInvalid:
        row = next(i for i, text in enumerate(texts) if text is not None and not _is_number(text))
        raise BarsError(f"column {name}, row {row + 1}: a value that is not a number: {values[row]!r}") from None


def _texts(column: pd.Series[Any]) -> list[str]:
    if pd.api.types.is_numeric_dtype(column.dtype):
        return []
    return [_bare(value.strip()) for value in column.tolist() if isinstance(value, str)]


def _bare(text: str) -> str:
    """Return a number without a dollar sign, and without separators of thousands that are no decimal mark."""
    if "$" in text:
        text = re.sub(r"^([-+]?)\$ ?", r"\1", text)
    return re.sub(f"[{_GAPS}]", "", text) if _GAPPED.fullmatch(text) else text


def _plain(text: str, mark: str) -> str:
    if mark == "," and re.fullmatch(_DECIMAL_COMMA, text):
        return re.sub(r"[. ']", "", text).replace(",", ".")
    if mark == "," and "." in text:
        return text.replace(".", "") if re.fullmatch(_POINTS, text) else f"{text}?"
    return text.replace(",", "") if mark == "." and re.fullmatch(_THOUSANDS, text) else text


def _number(value: Any, name: str) -> float:
    if isinstance(value, (int, float, Decimal, np.number)):
        return float(value)
    raise BarsError(f"column {name} has {value!r}, which is not a number")


def _is_number(text: str) -> bool:
    try:
        pa.array([text]).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True
