"""Read a sweep's summary from its plain data, with changes relative to the configured value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ewmalab.units import magnitude

_FORWARD = ("in_sample", "out_of_sample", "low", "high", "optimism")


@dataclass(frozen=True, slots=True)
class TriedValue:
    """One value of a sweep on one competition and asset.

    Attributes
    ----------
    competition, asset : str
    value : mapping of setting to value
    label : str
    mean_crps : float
        Basis points; NaN if nothing is scored.
    change, low, high : float
        Relative difference of mean CRPS from the configured value, and its 95 % interval; NaN if there are too few
        prompts.
    p_value, p_holm : float or None
        Diebold-Mariano, alone and corrected for the number of values; None if there are too few prompts.
    not_ruled_out : bool
        Whether it may be the best: the data have not shown that another is better.
    equivalent : bool
        Whether it is proven to be within a margin of the best.
    configured, best : bool
        Whether it is the configured value, and the best tried.
    """

    competition: str
    asset: str
    value: Mapping[str, Any]
    label: str
    mean_crps: float
    change: float
    low: float
    high: float
    p_value: float | None
    p_holm: float | None
    not_ruled_out: bool
    equivalent: bool
    configured: bool
    best: bool

    def place(self, parameter: str) -> float:
        """Return the position of the value on the axis of a parameter."""
        plain = self.value[parameter] if parameter in self.value else next(iter(self.value.values()))
        return magnitude(plain) or 0.0


@dataclass(frozen=True, slots=True)
class ForwardRow:
    """A walk-forward of one competition and asset: choosing on one window, scoring on the next.

    Attributes
    ----------
    competition, asset : str
    prompts : int
        Prompts in the scored windows.
    in_sample, out_of_sample : float
        Relative change of mean CRPS from the configured value: on the windows of the choices, and on the next.
    low, high : float
        95 % interval of `out_of_sample`; NaN if there are too few prompts.
    optimism : float
        `out_of_sample` less `in_sample`.
    choices : list of (int, str)
        Start of each scored window, and the value chosen for it.
    """

    competition: str
    asset: str
    prompts: int
    in_sample: float
    out_of_sample: float
    low: float
    high: float
    optimism: float
    choices: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class SweepRow:
    """The result of a sweep for one competition and asset.

    Attributes
    ----------
    competition, asset : str
    prompts : int
    configured, best : TriedValue
    values : list of TriedValue
    monte_carlo : float
        Noise of the simulation in the change of the best, relative; NaN if unknown.
    noise_in_interval : bool
        Whether the intervals include that noise.
    words : str
        The verdict.
    better : bool
        Whether the verdict is that the best tried is better than the configured value.
    forward : ForwardRow or None
    """

    competition: str
    asset: str
    prompts: int
    configured: TriedValue
    best: TriedValue
    values: list[TriedValue]
    monte_carlo: float
    noise_in_interval: bool
    words: str
    better: bool
    forward: ForwardRow | None


def read_sweep(summary: Iterable[Mapping[str, Any]]) -> list[SweepRow]:
    """Return the rows of a sweep's summary, from a result or from its experiment directory, in which null means NaN."""
    return [_row(row) for row in summary]


def _row(row: Mapping[str, Any]) -> SweepRow:
    base = _number(row["mean_crps_configured"])
    values = []
    for value in row["values"]:
        change, low, high = (_number(value[name]) / base for name in ("difference", "low", "high"))
        values.append(
            TriedValue(
                competition=row["competition"],
                asset=row["asset"],
                value=value["value"],
                label=value["label"],
                mean_crps=_number(value["mean_crps"]),
                change=change,
                low=low,
                high=high,
                p_value=value["p_value"],
                p_holm=value["p_holm"],
                not_ruled_out=value["not_ruled_out"] if "not_ruled_out" in value else value["indistinguishable"],
                equivalent=value.get("equivalent", False),
                configured=value["label"] == row["configured"],
                best=value["label"] == row["best"],
            )
        )
    return SweepRow(
        competition=row["competition"],
        asset=row["asset"],
        prompts=row["prompts"],
        configured=next(value for value in values if value.configured),
        best=next(value for value in values if value.best),
        values=values,
        monte_carlo=_number(row["monte_carlo"]),
        noise_in_interval=row["monte_carlo_in_interval"],
        words=row["words"],
        better=row.get("verdict") == "better",
        forward=_forward(row) if "walk_forward" in row else None,
    )


def _forward(row: Mapping[str, Any]) -> ForwardRow:
    found = row["walk_forward"]
    numbers: dict[str, Any] = {name: _number(found[name]) for name in _FORWARD}
    choices = [(window["start"], window["chosen"]) for window in found["windows"]]
    return ForwardRow(row["competition"], row["asset"], found["prompts"], **numbers, choices=choices)


def _number(value: float | None) -> float:
    return float("nan") if value is None or value - value != 0 else float(value)
