"""Prices as validators accept them: bytes that pass the format rule of every date.

Until 2026-07-16 a price was refused if Python printed it with more than 8 characters apart from the dot, leading
zeros and exponent included. Since then it must be a float32 with at most 8 significant digits. These forms pass both:

=====================  ==========================================
price                  written with
=====================  ==========================================
1e7 to 1e8             8 digits, as an integer
1 to 1e7               8 significant digits
1e-4 to 1              7 decimals (the leading 0 counts)
1e-6 to 1e-4           4 significant digits (``1.234e-05`` counts 8)
=====================  ==========================================
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from ewmalab.compiled import njit
from ewmalab.errors import FormatError

SMALLEST, LARGEST = 1e-6, 1e8
_WIDTH = 10  # most bytes of one number and its comma: "95000.123," or "1.234e-05,"


def render(start_time: int, time_increment: int, anchor: float, log_returns: npt.NDArray[np.float32]) -> bytes:
    """Return the JSON answer to a prompt: ``[start, dt, [path 1], ... [path N]]``.

    Parameters
    ----------
    start_time, time_increment : int
        Seconds.
    anchor : float
        Price at which the paths start.
    log_returns : (steps + 1, n) float32
        Cumulative log-returns.

    Raises
    ------
    FormatError
        If a price lies outside 1e-6 to 1e8, where no form passes both rules, or there is none.

    Examples
    --------
    >>> render(1768435200, 300, 95000.123456, np.zeros((2, 1), np.float32))
    b'[1768435200,300,[95000.123,95000.123]]'
    """
    growth = _workspace("growth", log_returns.size, np.float64).reshape(log_returns.shape)
    np.exp(log_returns, out=growth, dtype=np.float64)
    return _render(start_time, time_increment, anchor, growth)


_local = threading.local()


def _workspace(name: str, size: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return this thread's buffer; allocating megabytes per answer costs more in page faults than the digits do."""
    buffer: npt.NDArray[Any] | None = getattr(_local, name, None)
    if buffer is None or len(buffer) < size:
        buffer = np.empty(size, dtype)
        setattr(_local, name, buffer)
    return buffer[:size]


def _render(start_time: int, time_increment: int, anchor: float, growth: npt.NDArray[np.float64]) -> bytes:
    """Return the JSON answer for prices ``anchor * growth``; growth is (steps + 1, n)."""
    if growth.ndim != 2 or growth.size == 0:
        raise FormatError(f"prices must be an (n, steps + 1) table; got shape {growth.T.shape}")
    points, paths = growth.shape
    head = b"[%d,%d" % (start_time, time_increment)
    out = _workspace("out", len(head) + growth.size * _WIDTH + 2 * paths + 1, np.uint8)
    out[: len(head)] = np.frombuffer(head, np.uint8)
    records = np.empty(points, _RECORD)
    table = np.ascontiguousarray(growth)
    end = _write(table, anchor, records, records.view(np.uint8), out, len(head))
    if end < 0:
        raise FormatError(
            f"prices from {anchor * growth.min():g} to {anchor * growth.max():g}: validators accept prices from "
            f"{SMALLEST:g} to below {LARGEST:g} only"
        )
    out[end] = 93  # ]
    return out[: end + 1].tobytes()


# The ASCII digits of 0000 to 9999, the first digit in the lowest byte.
_FOUR = np.frombuffer(b"".join(b"%04d" % i for i in range(10_000)), "<u4").astype(np.uint64)


# One price of a row within one power of ten: 8 digits and the dot, then the comma. A record of 10 bytes takes two
# stores, where single bytes would take ten.
_RECORD = np.dtype([("head", "<u8"), ("tail", "<u2")])


@njit(nogil=True)
def _within(row, low, high):
    """Return whether low <= p < high for every price (False for NaN)."""
    inside = True
    for p in row:
        inside &= (p >= low) & (p < high)
    return inside


@njit(nogil=True)
def _fill_decade(row, whole, records):
    """Fill `records` with prices that all have `whole` digits before the dot, 1 to 7."""
    scale = 10.0 ** (8 - whole)
    before = np.uint64(8 * whole)
    mask = (np.uint64(1) << before) - np.uint64(1)
    dot = np.uint64(46) << before
    for j in range(row.shape[0]):
        value = np.uint32(row[j] * scale + 0.5)
        high = value // np.uint32(10_000)
        digits = _FOUR[high] | (_FOUR[value - high * np.uint32(10_000)] << np.uint64(32))
        # The digits behind the dot move up by one byte; in two shifts, because a shift by 64 is undefined.
        records[j].head = (digits & mask) | dot | (((digits >> before) << before) << np.uint64(8))
        records[j].tail = np.uint16(digits >> np.uint64(56)) | np.uint16(44 << 8)


@njit(nogil=True)
def _digits(number, count, out, at):
    """Write `count` decimal digits of a number at out[at:]."""
    for i in range(count - 1, -1, -1):
        quotient = number // np.uint32(10)
        out[at + i] = np.uint8(48) + np.uint8(number - quotient * np.uint32(10))
        number = quotient


@njit(nogil=True, cache=True)
def _write(growth, anchor, records, record_bytes, out, at):
    """Write ``,[p, p, ...]`` per path from out[at] on; return the end, or -1 if a price has no valid form.

    Paths lie along the second axis of `growth`. They are taken eight at a time: one cache line of each point.
    """
    points, paths = growth.shape
    tile = np.empty((8, points))
    for first in range(0, paths, 8):
        count = min(8, paths - first)
        for t in range(points):
            for k in range(count):
                tile[k, t] = anchor * growth[t, first + k]
        for k in range(count):
            at = _write_path(tile[k], records, record_bytes, out, at)
            if at < 0:
                return -1
    return at


@njit(nogil=True)
def _write_path(prices, records, record_bytes, out, at):
    """Write one path."""
    out[at] = 44  # ,
    out[at + 1] = 91  # [
    at += 2
    # Most paths stay within one power of ten, also after rounding, and take the fast branch.
    limit = 10.0
    whole = 1
    while prices[0] >= limit and whole < 8:
        limit *= 10.0
        whole += 1
    if whole < 8 and _within(prices, limit / 10.0, limit * (1.0 - 1e-8)):
        _fill_decade(prices, whole, records)
        out[at : at + len(record_bytes)] = record_bytes
        at += len(record_bytes)
    else:
        for p in prices:
            if not 1e-6 <= p < 1e8:
                return -1
            at = _write_small(p, out, at) if p < 1e-4 else _write_fixed(p, out, at)
            if at < 0:
                return -1
    out[at - 1] = 93  # ]
    return at


@njit(nogil=True)
def _write_small(p, out, at):
    """Write a price below 1e-4 with 4 digits: 1.234e-05 and a comma."""
    exponent = 5 if p >= 1e-5 else 6
    value = np.uint32(math.floor(p * (1e8 if exponent == 5 else 1e9) + 0.5))
    if value == np.uint32(10000):
        value = np.uint32(1000)
        exponent -= 1
    _digits(value // np.uint32(1000), 1, out, at)
    out[at + 1] = 46  # .
    _digits(value % np.uint32(1000), 3, out, at + 2)
    out[at + 5] = 101  # e
    out[at + 6] = 45  # -
    out[at + 7] = 48  # 0
    out[at + 8] = 48 + exponent
    out[at + 9] = 44  # ,
    return at + 10


@njit(nogil=True)
def _write_fixed(p, out, at):
    """Write a price from 1e-4 to 1e8 with 8 digits, a leading zero included, and a comma; -1 if it rounds to 1e8."""
    whole = 1
    limit = 10.0
    while p >= limit and whole < 8:
        limit *= 10.0
        whole += 1
    decimals = 8 - whole
    value = np.uint32(math.floor(p * 10.0**decimals + 0.5))
    if value >= np.uint32(100000000):  # rounded up into the next power of ten
        if decimals == 0:
            return -1
        value = np.uint32(10000000)
        decimals -= 1
        whole += 1
    scale = np.uint32(1)
    for _ in range(decimals):
        scale *= np.uint32(10)
    _digits(value // scale, whole, out, at)
    at += whole
    if decimals:
        out[at] = 46  # .
        _digits(value % scale, decimals, out, at + 1)
        at += 1 + decimals
    out[at] = 44  # ,
    return at + 1
