"""Rank a field of miners over time, with the cost of missed prompts and estimated earnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ewmalab.analysis.competition_field import Field, Standing, moments, standings
from ewmalab.analysis.earnings import Estimate, MissingEffect, emission_factor, estimate_earnings, missing_effects
from ewmalab.errors import ConfigError
from ewmalab.times import DAY

SMALL_FIELD = 50  # miners; ranks in a smaller field say little about the subnet


@dataclass(frozen=True, slots=True)
class Questions:
    """The analyses of a field.

    Attributes
    ----------
    every : int
        Seconds between standings.
    missing : sequence of float
        Shares of missed prompts whose cost is estimated, for the first of the named miners.
    emission : float or None
        Reward of all miners, in `unit`; if given, earnings are estimated.
    unit : str
    correction : float or None
        Realised emission relative to what the weights promise; None means the rulebook's at that time.
    seed : int
        For the bootstrap and the choice of missed prompts.
    """

    every: int = DAY
    missing: Sequence[float] = ()
    emission: float | None = None
    unit: str = "alpha/day"
    correction: float | None = None
    seed: int = 0


def parse_shares(text: str) -> list[float]:
    """Parse comma-separated shares such as ``0.01,0.05``.

    Raises
    ------
    ConfigError
        If one is not a number between 0 and 1.
    """
    try:
        shares = [float(item) for item in text.split(",") if item.strip()]
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a list of shares such as 0.01,0.05") from error
    if not all(0 <= share <= 1 for share in shares):
        raise ConfigError("shares must lie between 0 and 1")
    return shares


@dataclass(frozen=True, slots=True)
class Ranking:
    """A ranked field; its attributes are the keys of ``ewmalab leaderboard --json``.

    Attributes
    ----------
    when : int
        Time of the last standings, seconds since 1970-01-01 UTC.
    rules : str
    synthetic : bool
        Whether prices were simulated.
    prompts : int
    miners, named : list of str
        All miners, and those of interest.
    windows : dict of str to float
        Length of the rolling window by competition, days.
    standings : list of Standing
    missing : list of MissingEffect
    emission : float or None
    unit : str
    correction : float
    earnings : list of Estimate
        Empty without an emission.
    notes : list of str
        Notes for readers.
    """

    when: int
    rules: str
    synthetic: bool
    prompts: int
    miners: list[str]
    named: list[str]
    windows: dict[str, float]
    standings: list[Standing]
    missing: list[MissingEffect]
    emission: float | None
    unit: str
    correction: float
    earnings: list[Estimate]
    notes: list[str]

    @property
    def final(self) -> list[Standing]:
        """Return the last standings, by competition and rank."""
        last = [standing for standing in self.standings if standing.when == self.when]
        return sorted(last, key=lambda s: (s.competition, s.rank, s.miner))

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Ranking:
        """Return a ranking from JSON, in which an average that is not finite is null.

        Raises
        ------
        KeyError, TypeError
            If it is not a ranking.
        """
        fields = {name: data[name] for name in cls.__dataclass_fields__}
        found = [
            Standing(**row | {name: _number(row.get(name)) for name in ("average", "score")})
            for row in data["standings"]
        ]
        missing = [MissingEffect(**row) for row in data["missing"]]
        earnings = [Estimate(**row) for row in data["earnings"]]
        return cls(**fields | {"standings": found, "missing": missing, "earnings": earnings})


def rank(
    field: Field, named: Sequence[str], questions: Questions, *, synthetic: bool = False, notes: Sequence[str] = ()
) -> Ranking:
    """Rank a field of miners.

    Parameters
    ----------
    field : Field
    named : sequence of str
        Miners of interest; the cost of missed prompts is that of the first.
    questions : Questions
    synthetic : bool
        Whether prices were simulated.
    notes : sequence of str
        Notes to add.

    Raises
    ------
    ExperimentError
        If no miner has a valid score, or a competition does not run under the rules.
    """
    times, seed, emission = moments(field, questions.every), questions.seed, questions.emission
    when = times[-1]
    correction = emission_factor(field, when) if questions.correction is None else questions.correction
    told = list(notes)
    if len(field.miners) < SMALL_FIELD:
        told.append(
            f"the field has {len(field.miners)} miners, the subnet about 250: weights and earnings hold within this "
            "field only; give the others' scores with `--scores`"
        )
    return Ranking(
        when=when,
        rules=str(field.choice),
        synthetic=synthetic,
        prompts=len(field.crps),
        miners=field.miners,
        named=list(named),
        windows={name: field.competition(name, when)[0].window / DAY for name in field.boards},
        standings=standings(field, times),
        missing=missing_effects(field, named[0], when, questions.missing, seed=seed) if questions.missing else [],
        emission=emission,
        unit=questions.unit,
        correction=correction,
        earnings=[]
        if emission is None
        else estimate_earnings(field, when, emission=emission, correction=correction, seed=seed),
        notes=told,
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
