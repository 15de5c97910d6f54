"""A field of miners ranked over time, with what missed prompts cost and what a place is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ewmalab.analysis.competition_field import Field, Standing, moments, standings
from ewmalab.analysis.earnings import Estimate, MissingEffect, emission_factor, estimate_earnings, missing_effects
from ewmalab.errors import ConfigError
from ewmalab.times import DAY

SMALL_FIELD = 50  # miners, below which ranks say little of the subnet


@dataclass(frozen=True, slots=True)
class Questions:
    """What to find out about a field.

    Attributes
    ----------
    every : int
        Seconds between standings.
    missing : sequence of float
        Shares of missed prompts whose cost is estimated, for the first of the named miners.
    emission : float or None
        Reward of all miners, in `unit`; with it, earnings are estimated.
    unit : str
    correction : float or None
        Realised part of what the weights promise; None: the rulebook's at that time.
    seed : int
        Of the bootstrap and of the prompts that are missed.
    """

    every: int = DAY
    missing: Sequence[float] = ()
    emission: float | None = None
    unit: str = "alpha/day"
    correction: float | None = None
    seed: int = 0


def parse_shares(text: str) -> list[float]:
    """Read shares with commas between them, such as ``0.01,0.05``.

    Raises
    ------
    ConfigError
        If one is no number between 0 and 1.
    """
    try:
        shares = [float(item) for item in text.split(",") if item.strip()]
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not all(0 <= share <= 1 for share in shares):
        raise ConfigError("shares lie between 0 and 1")
    return shares


@dataclass(frozen=True, slots=True)
class Ranking:
    """A ranked field; its attributes are the keys of ``ewmalab leaderboard --json``.

    Attributes
    ----------
    when : int
        The last of the times of the standings, seconds since 1970-01-01 UTC.
    rules : str
    synthetic : bool
        Whether prices were simulated.
    prompts : int
    miners, named : list of str
        All, and those that were asked about.
    windows : dict of str to float
        Days that averages roll over, by competition.
    standings : list of Standing
    missing : list of MissingEffect
    emission : float or None
    unit : str
    correction : float
    earnings : list of Estimate
        Empty without an emission.
    notes : list of str
        What a reader should know.
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
        """Return a ranking from JSON, where an average that is no finite number is null.

        Raises
        ------
        KeyError, TypeError
            If it is something else.
        """
        fields = {name: data[name] for name in cls.__dataclass_fields__}
        found = [Standing(**row | {"average": _number(row["average"])}) for row in data["standings"]]
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
        What is known of the field already.

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
            "field only; give the others' scores with --scores"
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
