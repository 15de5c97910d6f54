"""The rules of a bar, checked for every bar that is imported, fetched or received live."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ewmalab.times import MINUTE

COLUMNS = ("timestamp", "open", "high", "low", "close")
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]

VALUE_FAULTS = (
    "close missing or not finite",
    "price not positive",
    "open, high or low not finite",
    "open, high, low only partly present",
    "high below low",
    "close outside low..high",
    "open outside low..high",
)
"""Faults of a row's prices, whose time is right: its minute is known to have no usable bar."""

DUPLICATE, NO_READABLE_TIME = "duplicate timestamp", "no readable time"
_OUT_OF_ORDER = "out of order"
_NEVER = np.iinfo(np.int64).min
# With fewer rows, a market that happens to trade every other minute would look like 2-minute bars.
_MIN_SPACING_ROWS = 10
_SPACING_SHARE = 0.95  # of rows; one with a wrong time does not make minute bars
_MAX_EQUAL_STEPS = 20  # in a market that trades every other minute by chance, a run of as many has odds of 1e-12
# Rows in one piece that are out of place belong together: two files were joined. Fewer have wrong times.
_MIN_PIECE = 5
_MAX_STRAYS = 0.05  # share of rows; with more, the rows are in no order that could say which are wrong


@dataclass(frozen=True, slots=True)
class AsideBar:
    """A bar that was set aside.

    Attributes
    ----------
    label : int
    prices : tuple of four float
        Open, high, low and close as the source gave them; NaN for what is no number.
    reason : str
    source : str
        Host or file.
    at : int
        When it was set aside, seconds since 1970-01-01 UTC.
    """

    label: int
    prices: tuple[float, ...]
    reason: str
    source: str = ""
    at: int = 0


def row_faults(columns: Mapping[str, npt.NDArray[np.generic]], resolution: int = MINUTE) -> dict[str, Bool]:
    """Return, for each broken rule, the mask of the rows that break it.

    Parameters
    ----------
    columns : mapping of (n,) arrays
        The five columns of `Bars`. Each row is judged by itself, and its order against the previous row.
    resolution : int
        Seconds per bar.

    Returns
    -------
    dict of str to (n,) bool
    """
    t = np.asarray(columns["timestamp"], np.int64)
    step = np.diff(t, prepend=t[:1] - resolution) if len(t) else t
    faults = {DUPLICATE: step == 0, _OUT_OF_ORDER: step < 0, **_faults_within(columns, resolution)}
    return {reason: mask for reason, mask in faults.items() if mask.any()}


def rejects(columns: Mapping[str, npt.NDArray[np.generic]], now: int | None = None) -> dict[str, Bool]:
    """Return, by reason, the masks of the rows to drop so that the others, sorted, are valid; each row once.

    Each row is first judged by itself and listed under the first rule that it breaks. A row is out of order if its
    time is not between its neighbours' and a minute is missing where it stands: its time is wrong. Of rows that share
    a time, a row out of order is wrong; if none is, all are.

    Parameters
    ----------
    columns : mapping of (n,) arrays
        The five columns of `Bars`, in the order of the source.
    now : int, optional
        Current time, seconds since 1970-01-01 UTC; a bar that is not closed by then is bad.

    Returns
    -------
    dict of str to (n,) bool
    """
    times = np.asarray(columns["timestamp"], np.int64)
    faults = {NO_READABLE_TIME: times == _NEVER} | _faults_within(columns, MINUTE)
    if now is not None:
        faults["not closed yet"] = times > now - MINUTE
    bad = np.zeros(len(times), bool)
    for reason, mask in faults.items():
        faults[reason] = mask & ~bad
        bad |= mask
    sound = np.flatnonzero(~bad)
    stray = np.zeros(len(times), bool)
    stray[sound[_strays(times[sound])]] = True
    kept = sound[~stray[sound]]
    _, group, sizes = np.unique(times[kept], return_inverse=True, return_counts=True)
    double = np.zeros(len(times), bool)
    double[kept[sizes[group] > 1]] = True
    faults |= {DUPLICATE: double, _OUT_OF_ORDER: stray}
    return {reason: mask for reason, mask in faults.items() if mask.any()}


def spacing_fault(timestamp: Int, resolution: int = MINUTE, least: int = _MIN_SPACING_ROWS) -> str | None:
    """Return a message if bars have a longer resolution than expected, else None.

    They do if nearly all times are the same multiples of k > 1 times `resolution`, or if twenty steps in a row are
    equal and longer. Bars of a quiet market have gaps of all lengths.

    Parameters
    ----------
    timestamp : (n,) int64
        Strictly increasing multiples of `resolution`.
    resolution : int
        Seconds per bar.
    least : int
        Rows that can be judged; fewer are a quiet market. A source that was asked for bars of `resolution` deserves
        more trust than a file.
    """
    steps = np.diff(timestamp) // resolution
    if len(timestamp) < max(least, 2) or not len(steps):
        return None
    longest, length = _longest_run(steps)
    usual = int(np.median(steps))
    apart = int(np.gcd.reduce(steps))
    if apart == 1 and usual > 1 and _share_apart(timestamp // resolution, usual) > _SPACING_SHARE:
        apart = usual
    at = 0
    if apart == 1 and longest >= _MAX_EQUAL_STEPS:
        apart, at = length, _start_of_run(steps, length, longest)
    if apart == 1:
        return None
    since = f"from timestamp {int(timestamp[at])} on"
    return f"{since}, bars are {apart * resolution} s apart, not {resolution} s; bars of {resolution} s are needed"


def describe_faults(faults: Mapping[str, Bool], timestamp: Int) -> str:
    """Return one line that counts the rows per broken rule and names the first row of each."""
    parts = []
    for reason, mask in faults.items():
        first = int(np.flatnonzero(mask)[0])
        when = "" if timestamp[first] == _NEVER else f", timestamp {int(timestamp[first])}"
        parts.append(f"{int(mask.sum())} x {reason} (first: row {first}{when})")
    return "bad bars: " + "; ".join(parts)


def _faults_within(columns: Mapping[str, npt.NDArray[np.generic]], resolution: int) -> dict[str, Bool]:
    """Return the masks of the rules that apply to single rows."""
    t = np.asarray(columns["timestamp"], np.int64)
    o, h, l, c = (np.asarray(columns[name], np.float64) for name in COLUMNS[1:])
    absent = np.isnan(o).astype(int) + np.isnan(h) + np.isnan(l)
    full = absent == 0
    with np.errstate(invalid="ignore"):
        masks = (
            ~np.isfinite(c),
            (c <= 0) | (o <= 0) | (h <= 0) | (l <= 0),
            np.isinf(o) | np.isinf(h) | np.isinf(l),
            (absent > 0) & (absent < 3),
            full & (h < l),
            full & ((c < l) | (c > h)),
            full & ((o < l) | (o > h)),
        )
    off_grid = {f"timestamp not a multiple of {resolution} s": t % resolution != 0}
    return off_grid | dict(zip(VALUE_FAULTS, masks, strict=True))


def _strays(times: Int) -> Int:
    """Return the positions of the few rows whose times break the order of the others and cannot be right."""
    steps = np.diff(times)
    if (steps >= 0).all() or (steps <= 0).all():
        return np.empty(0, np.int64)
    descending = (steps < 0).sum() > (steps > 0).sum()
    ordered = times[::-1] if descending else times
    inside = _longest_ordered(ordered)
    outside = np.ones(len(times), bool)
    outside[inside] = False
    if outside.sum() > max(1, _MAX_STRAYS * len(times)):
        return np.empty(0, np.int64)
    found: list[int] = []
    places = np.flatnonzero(outside)
    for piece in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
        before, after = piece[0] - 1, piece[-1] + 1
        hole = before >= 0 and after < len(times) and ordered[after] - ordered[before] > MINUTE
        if len(piece) < _MIN_PIECE:
            found += [int(at) for at in piece if hole or ordered[at] in ordered[inside]]
    strays = np.array(found, np.int64)
    return len(times) - 1 - strays if descending else strays


def _longest_ordered(times: Int) -> Int:
    """Return the positions of a longest subsequence that never falls."""
    tails: list[int] = []
    ends: list[int] = []
    before = np.full(len(times), -1, np.int64)
    for at, time in enumerate(times.tolist()):
        place = bisect_right(tails, time)
        before[at] = ends[place - 1] if place else -1
        tails[place : place + 1] = [time]
        ends[place : place + 1] = [at]
    chain = []
    at = ends[-1]
    while at >= 0:
        chain.append(at)
        at = int(before[at])
    return np.array(chain[::-1], np.int64)


def _share_apart(minutes: Int, step: int) -> float:
    """Return the largest share of rows whose distances are all multiples of `step`."""
    return float(np.unique(minutes % step, return_counts=True)[1].max() / len(minutes))


def _longest_run(steps: Int) -> tuple[int, int]:
    """Return the length of the longest run of equal steps that are longer than 1, and their step."""
    edges = np.flatnonzero(np.diff(steps, prepend=steps[0] - 1, append=steps[-1] + 1))
    sizes, values = np.diff(edges), steps[edges[:-1]]
    sizes = np.where(values > 1, sizes, 0)
    best = int(np.argmax(sizes))
    return int(sizes[best]), int(values[best])


def _start_of_run(steps: Int, step: int, length: int) -> int:
    same = np.convolve(steps == step, np.ones(length, np.int64), "valid")
    return int(np.argmax(same == length))
