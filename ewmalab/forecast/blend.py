"""The forecaster ``blend``: a mixture of other forecasters, which answers with some paths of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ewmalab.errors import ForecasterError
from ewmalab.forecast.learning import Record, dump_record, followed, load_record
from ewmalab.forecast.model import DEFAULT_WARMUP, fit_of
from ewmalab.forecast.paths import check_paths
from ewmalab.forecast.protocol import Ageing, Explained, Fittable, Forecaster, LogReturns, Numbers, Prompt
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Asset

States = tuple[Any, ...]
"""The members' states, in the members' order; then the record of their scores, if weights are learnt."""


def blend(
    asset: Asset, members: Mapping[str, Forecaster[Any]], weights: tuple[float, ...] = (), memory: int = 0
) -> Blend:
    """Make the blend of an asset.

    Parameters
    ----------
    asset : Asset
    members : mapping of name to Forecaster
        Forecasters of the same asset, at least one.
    weights : tuple of float
        One for each member, >= 0; divided by their sum. Empty: all equal.
    memory : int
        Half-life of past scores, from which the weights are learnt, seconds; 0: the weights are fixed.

    Raises
    ------
    ForecasterError
        If the weights are not one for each member, or one is negative, or none is positive.
    """
    given = np.array(weights or [1.0] * len(members), np.float64)
    if len(given) != len(members) or not (np.isfinite(given) & (given >= 0)).all() or not given.sum() > 0:
        raise ForecasterError(
            f"blend: weights {list(weights)} of {len(members)} members ({', '.join(members)}) for {asset.symbol}: give "
            "one weight >= 0 for each member, not all 0, or none at all"
        )
    shares = tuple((given / given.sum()).tolist())
    fitted = any(isinstance(one, Fittable) for one in members.values())
    return (FittedBlend if fitted else Blend)(asset, tuple(members), tuple(members.values()), shares, memory)


def paths_of_each(shares: tuple[float, ...], count: int) -> list[int]:
    """Return how many of `count` paths each member simulates: by largest remainders, the first of equal ones.

    Examples
    --------
    >>> paths_of_each((0.5, 0.5), 1000)
    [500, 500]
    >>> paths_of_each((0.25, 0.75), 10)
    [3, 7]
    """
    quotas = np.array(shares) * count
    counts = np.floor(quotas).astype(np.int64)
    by_remainder = np.argsort(counts - quotas, kind="stable")
    counts[by_remainder[: count - int(counts.sum())]] += 1
    return [int(n) for n in counts]


@dataclass(frozen=True, eq=False)
class Blend:
    """A mixture of forecasters of one asset (a linear pool): each contributes paths in proportion to its weight.

    A member sees the same bars and prompts as the blend. Its paths come from a random stream of its own, and the paths
    of all members are shuffled.

    Parameters
    ----------
    asset : Asset
    names : tuple of str
        Names of the members, all different.
    members : tuple of Forecaster
    shares : tuple of float
        Weights of the members; their sum is 1.
    memory : int
        See `blend`.
    """

    asset: Asset
    names: tuple[str, ...]
    members: tuple[Forecaster[Any], ...]
    shares: tuple[float, ...]
    memory: int = 0

    STATE_VERSION = 1

    @property
    def warmup(self) -> int:
        """Return the longest warm-up of a member, or the memory of scores if that is longer; seconds."""
        return max(self.memory, *(int(getattr(one, "warmup", DEFAULT_WARMUP)) for one in self.members))

    def initial_state(self) -> States:
        """Return the state before any bar."""
        states = tuple(one.initial_state() for one in self.members)
        return (*states, Record.empty(len(self.members))) if self.memory else states

    def update(self, state: States, bars: Bars) -> States:
        """Return the state after closed minute bars; see `Forecaster.update`."""
        if not self.memory:
            return tuple(one.update(own, bars) for one, own in zip(self.members, state, strict=True))
        states, record = followed(self.asset, self.members, state[:-1], state[-1], bars, self.memory)
        return (*states, record)

    def aged(self, state: States, until: int) -> States:
        """Return the states aged by the rules of those members that have one; see `Ageing`."""
        own = state[: len(self.members)]
        aged = (one.aged(x, until) if isinstance(one, Ageing) else x for one, x in zip(self.members, own, strict=True))
        return (*aged, *state[len(own) :])

    def shares_of(self, state: States, time_increment: int) -> tuple[float, ...]:
        """Return the weights for prompts of an increment, learnt from the scores in a state if the blend learns."""
        return state[-1].shares(self.shares, time_increment) if self.memory else self.shares

    def simulate(self, state: States, prompt: Prompt, stream: RandomStream) -> LogReturns:
        """Return cumulative log-returns; see `Forecaster.simulate`.

        Raises
        ------
        ForecasterError
            If a member cannot answer, or its paths break the protocol.
        """
        counts = paths_of_each(self.shares_of(state, prompt.time_increment), prompt.num_simulations)
        parts = []
        for name, one, own, count in zip(self.names, self.members, state, counts, strict=False):
            if count:
                asked = replace(prompt, num_simulations=count)
                parts.append(check_paths(one, one.simulate(own, asked, stream.derived(name)), asked))
        order = stream.derived("order").generator().permutation(prompt.num_simulations)
        return np.take(np.concatenate(parts, axis=1), order, axis=1)

    def dump_state(self, state: States) -> dict[str, Any]:
        """Return the members' names and states, and the record of their scores if there is one, as a plain dict."""
        states = [one.dump_state(own) for one, own in zip(self.members, state, strict=False)]
        data = {"forecaster": "blend", "version": self.STATE_VERSION, "members": list(self.names), "states": states}
        return data | ({"record": dump_record(state[-1], self.members)} if self.memory else {})

    def load_state(self, data: Mapping[str, Any]) -> States:
        """Return the states that `dump_state` wrote.

        Raises
        ------
        ForecasterError
            If the members are others, or one of them refuses its state.
        """
        expected = ("blend", self.STATE_VERSION, list(self.names))
        states = data.get("states")
        if (data.get("forecaster"), data.get("version"), data.get("members")) != expected or not (
            isinstance(states, list) and len(states) == len(self.members)
        ):
            raise ForecasterError(f"not a state of a blend of {', '.join(self.names)}: {str(dict(data))[:80]}")
        found = tuple(one.load_state(own) for one, own in zip(self.members, states, strict=True))
        return (*found, load_record(data.get("record"), self.members)) if self.memory else found


@dataclass(frozen=True, eq=False)
class FittedBlend(Blend):
    """A `Blend` with members that are fitted; the fit of the blend holds theirs by name."""

    def fit(
        self,
        bars: Mapping[str, Bars],
        assets: Mapping[str, Asset],
        *,
        end: int,
        prior: Numbers | None = None,
        threads: int = 1,
    ) -> Numbers:
        """Return the fit of each `Fittable` member by its name.

        Parameters
        ----------
        bars, assets, end, prior, threads
            As in `Fittable.fit`.
        """
        return {
            name: fit_of(one, bars, assets, end=end, prior=(prior or {}).get(name), threads=threads)
            for name, one in self._fittable().items()
        }

    def with_fit(self, numbers: Numbers) -> FittedBlend:
        """Return the blend whose members use their parts of a fit; a member without one stays as it is.

        Raises
        ------
        ForecasterError
            If the fit is of other members, or a member refuses its part.
        """
        if not numbers or not set(numbers) <= set(self._fittable()):
            raise ForecasterError(
                f"blend: a fit of {', '.join(numbers)} does not serve a blend of {', '.join(self.names)}: fit the "
                "blend with its present members (`ewmalab fit -f blend`)"
            )
        pairs = zip(self.names, self.members, strict=True)
        members = tuple(
            one.with_fit(numbers[name]) if isinstance(one, Fittable) and name in numbers else one for name, one in pairs
        )
        return replace(self, members=members)

    def fit_remark(self, numbers: Numbers | None) -> str:
        """Return the members' remarks on their fits; see `Explained`."""
        explained = {name: one for name, one in self._fittable().items() if isinstance(one, Explained)}
        remarks = (one.fit_remark((numbers or {}).get(name)) for name, one in explained.items())
        return "; ".join(remark for remark in remarks if remark)

    def fit_table(self, numbers: Numbers) -> dict[str, dict[str, str]]:
        """Return the columns of all members; see `Explained`."""
        table: dict[str, dict[str, str]] = {}
        for name, one in self._fittable().items():
            described = one.fit_table(numbers[name]) if isinstance(one, Explained) and name in numbers else {}
            for asset, row in described.items():
                table.setdefault(asset, {}).update({f"{name} {column}": text for column, text in row.items()})
        return table

    def _fittable(self) -> dict[str, Fittable]:
        return {name: one for name, one in zip(self.names, self.members, strict=True) if isinstance(one, Fittable)}
