"""Plans of backtests: prompts, bars and forecasters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from ewmalab.forecast.load import Factory, names_of
from ewmalab.forecast.model import Model
from ewmalab.market.cache import Cache, local_cache, open_cache
from ewmalab.market.feeds.make import cache_name, make_feed
from ewmalab.market.fetch import fetch_missing
from ewmalab.market.partition import Partition
from ewmalab.replay.data import FitHistory, Group, ReplayData, after_silence, digests, find_data, group_prompts, needed
from ewmalab.replay.engine import Row, replay
from ewmalab.replay.fits import Refits, boundary, fit_remarks, later_prior, load_model, refitted
from ewmalab.replay.priors import prior_at
from ewmalab.replay.schedule import Scheduled, Selection, schedule
from ewmalab.replay.settings_check import check_settings
from ewmalab.rulebook import Rulebook, RuleChoice, ScoringRule, load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY, HOUR, iso, seconds_in
from ewmalab.units import format_duration


@dataclass(frozen=True)
class BacktestPlan:
    """A backtest ready to run: prompts, bars and forecasters.

    Attributes
    ----------
    settings : LoadedSettings
    rulebook : Rulebook
    choice : RuleChoice
    forecasters : tuple of str
        The last is the baseline.
    start, days : int
        First second since 1970-01-01 UTC, and length in days.
    groups : dict of (competition, asset) to prompts
    data : ReplayData
    options : dict
        The choices that are not settings, for the record.
    refits : mapping of str to Refits
        By name, for the forecasters that are refitted during the replay.
    left_out : tuple of str
        Which forecasters of the settings are left out, and why.
    """

    settings: LoadedSettings
    rulebook: Rulebook
    choice: RuleChoice
    forecasters: tuple[str, ...]
    start: int
    days: float
    groups: dict[Group, list[Scheduled]]
    data: ReplayData
    options: dict[str, Any] = field(default_factory=dict)
    refits: Mapping[str, Refits] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def present(self) -> int:
        """Return a time before all requests: a prior that has seen later bars does not serve."""
        return self.start - HOUR

    @property
    def prompts(self) -> int:
        """Return the number of prompts times that of forecasters."""
        return len(self.forecasters) * sum(len(items) for items in self.groups.values())

    def model(self, name: str, asset: str, when: int) -> Model:
        """Return the model that answers for an asset at a time (seconds since 1970-01-01 UTC)."""
        if name in self.refits:
            return self.refits[name].model_at(when, asset)
        return load_model(name, self.rulebook.asset(asset), self.settings, self.present)

    def stretches(self, name: str, group: Group) -> Iterator[tuple[Model, list[Scheduled]]]:
        """Yield a forecaster's models with the prompts that each answers: one, or one after each fit."""
        items = self.groups[group]
        if name in self.refits:
            yield from self.refits[name].stretches(group[1], items)
        else:
            yield self.model(name, group[1], self.start), items

    def blocks(
        self, *, threads: int, progress: Callable[[int], None] | None = None, keep: Path | None = None
    ) -> Iterator[list[Row]]:
        """Replay all prompts; see `ewmalab.replay.engine.replay`."""
        return replay(
            self.forecasters,
            self.stretches,
            self.groups,
            self.data,
            seed=self.settings.values.run.seed,
            threads=threads,
            progress=progress,
            keep=keep,
        )

    def run(self, *, threads: int, progress: Callable[[int], None] | None = None) -> list[Row]:
        """Replay all prompts; return the rows ordered by forecaster, start time, competition and asset."""
        rows = [row for block in self.blocks(threads=threads, progress=progress) for row in block]
        order = {name: i for i, name in enumerate(self.forecasters)}
        return sorted(rows, key=lambda row: (order[row.forecaster], row.prompt))

    @property
    def rules(self) -> list[ScoringRule]:
        """Return the rules of the prompts, those of the earliest prompts first."""
        firsts = {items[0].prompt: items for items in self.groups.values()}
        return list(dict.fromkeys(item.rule for first in sorted(firsts) for item in firsts[first]))

    @property
    def partitions(self) -> dict[str, Partition]:
        """Return the files of all bars, those that fits see included, by "feed/asset/date"."""
        found = dict(self.data.partitions)
        for fits in self.refits.values():
            found |= fits.history.partitions
        return found

    def digests(self) -> dict[str, str]:
        """Return digests of the bars by "feed/asset".

        Those that fits see are named "feed/asset/fits", and published paths "field/asset/paths".
        """
        found = digests(self.data.partitions)
        for fits in self.refits.values():
            found |= {f"{key}/fits": digest for key, digest in digests(fits.history.partitions).items()}
        return found | published_digests(item for items in self.groups.values() for item in items)

    def truth(self) -> dict[str, dict[str, float]]:
        """Return the true parameters of the synthetic market, by asset; empty for real bars."""
        data = self.settings.values.data
        if "simulated" not in (data.feed, data.scored_feed):
            return {}
        from ewmalab.market.feeds.simulated import SimulatedFeed

        simulated = self.settings.values.feeds.simulated
        market = SimulatedFeed(self.rulebook, seed=simulated.seed, gaps=simulated.gaps)
        return {asset: market.truth(asset) for asset in dict.fromkeys(asset for _, asset in self.groups)}

    def warnings(self) -> list[str]:
        """Return warnings about fits, warm-ups and scored prices that a user needs before trusting the scores."""
        feeds = {asset: self.data.feed for _, asset in self.groups}
        return [
            *(f"note: {line}" for line in self.left_out),
            *(
                f"note: {line}"
                for name in self.forecasters
                if name not in self.refits
                for line in fit_remarks(name, self.settings, self.rulebook, feeds, self.present)
            ),
            *self._settled(),
            *self._short_warmups(),
            *self._scored_elsewhere(),
        ]

    def _settled(self) -> list[str]:
        items = [item for items in self.groups.values() for item in items]
        count = sum(bool(item.published) for item in items)
        rest = "" if count == len(items) else ", the others against the cached bars"
        return [f"note: {count} of {len(items)} prompts are scored against published paths{rest}"] if count else []

    def _short_warmups(self) -> list[str]:
        if not self.data.short:
            return []
        wanted = {
            name: self.model(name, asset, self.start).warmup for name in self.forecasters for asset in self.data.short
        }
        asks = ", ".join(f"{name} {format_duration(warmup)}" for name, warmup in wanted.items())
        starts = ", ".join(f"{asset} from {iso(label)} on" for asset, label in self.data.short.items())
        return [f"note: the first states have a shorter warm-up than asked for ({asks}): the cache has {starts}"]

    def _scored_elsewhere(self) -> list[str]:
        scored = self.settings.values.data.scored_feed or self.settings.values.data.feed
        if self.data.synthetic or scored == "file":
            return []
        others: dict[str, list[str]] = {}
        open_ = [asset for (_, asset), items in self.groups.items() if not all(item.published for item in items)]
        for asset in dict.fromkeys(open_):
            official = self.choice.at(self.rulebook, self.start).assets[asset].scored_feed
            if official not in (None, scored):
                others.setdefault(str(official), []).append(asset)
        return [
            f"note: validators scored {', '.join(assets)} on {official} on that date; this replay scores on {scored}"
            for official, assets in others.items()
        ]

    def inputs(self) -> dict[str, Any]:
        """Return everything that determines the results; threads and folders do not."""
        settings = self.settings.values.plain()
        for section, key in (("run", "threads"), ("run", "experiments_dir"), ("data", "cache_dir")):
            del settings[section][key]
        del settings["feeds"]["pyth"]["api_key"], settings["fit"]["folder"], settings["field"]
        settings["live"] = {"stale_after": settings["live"]["stale_after"]}
        last = self.start + seconds_in(self.days)
        priors = {n: prior.fit.digest for n in self.forecasters if (prior := prior_at(n, self.settings, last))}
        return {
            "kind": "backtest",
            "settings": settings,
            "forecasters": list(self.forecasters),
            "rules": str(self.choice),
            "rulebook": {"version": self.rulebook.version, "sha256": self.rulebook.digest},
            "start": self.start,
            "days": self.days,
            "options": self.options,
            "data": self.digests(),
            "synthetic": self.data.synthetic,
        } | ({"priors": priors} if priors else {})


def plan_backtest(
    settings: LoadedSettings,
    *,
    forecasters: Sequence[str | Factory] | None = None,
    now: int | None = None,
    **selection: Unpack[Selection],
) -> BacktestPlan:
    """Lay out a backtest and find its bars.

    Parameters
    ----------
    settings : LoadedSettings
    forecasters : sequence of str or callable, optional
        Names, classes or functions, instead of the setting ``replay.forecasters``; see
        `ewmalab.forecast.load.names_of`.
    now : int, optional
        Current time, seconds since 1970-01-01 UTC. If given, synthetic bars that the cache lacks are generated.
    **selection
        See `Selection`.

    Raises
    ------
    RulebookError, MissingDataError, CorruptPartitionError, ForecasterError, ConfigError
    """
    rulebook, values = load_rulebook(), settings.values
    choice = selection.get("rules") or RuleChoice()
    check_settings(values, rulebook)
    names, left_out = _names(forecasters, settings, rulebook, selection["start"] - HOUR)
    groups = group_prompts(_schedule(rulebook, choice, values.replay.request_lead, selection))
    warmups = {
        asset: max(_warmup(name, asset, settings, rulebook, selection["start"] - HOUR) for name in names)
        for asset in dict.fromkeys(asset for _, asset in groups)
    }
    feed = cache_name(values.data.feed, values)
    scored = cache_name(values.data.scored_feed or values.data.feed, values)
    cache, make = open_cache(values.data.cache_dir), _synthetic(settings, rulebook, now)
    needs = after_silence(cache, needed(groups, warmups), feed, make if values.data.feed == "simulated" else None)
    if make:
        for asset, need in needs.items():
            make(asset, min(need.origin, need.scored[0]), max(need.last, need.scored[1]))
    # First the histories: generating their synthetic bars may extend days that the replay reads too.
    refits = {
        name: Refits(
            name, settings, rulebook, _history(cache, feed, list(needs), settings, selection, make), list(needs)
        )
        for name in names
        if refitted(name, settings, rulebook)
    }
    data = find_data(cache, needs, feed, scored, partial=selection.get("partial", False))
    start, days = selection["start"], selection["days"]
    options = _recorded(selection)
    return BacktestPlan(settings, rulebook, choice, names, start, days, groups, data, options, refits, left_out)


def _names(
    forecasters: Sequence[str | Factory] | None, settings: LoadedSettings, rulebook: Rulebook, present: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the forecasters, and why some of the settings are left out: their prior came later."""
    if forecasters:
        return names_of(forecasters), ()
    names = names_of(settings.values.replay.forecasters)
    early = {
        name: prior.fit.end
        for name in names
        if not refitted(name, settings, rulebook) and (prior := later_prior(name, settings, present))
    }
    kept = tuple(name for name in names if name not in early)
    if len(kept) < min(2, len(names)):
        return names, ()
    return kept, tuple(
        f"{name} is left out: its prior has seen bars up to {iso(end)} and serves no earlier prompts; name it with "
        "-f, fit it (`ewmalab fit`), or refit it along the replay (--refit 1d)"
        for name, end in early.items()
    )


def _schedule(rulebook: Rulebook, choice: RuleChoice, request_lead: int, selection: Selection) -> list[Scheduled]:
    """Return the prompts of a selection: those given, of the wanted assets, or those of the rulebook."""
    assets = selection.get("assets")
    if given := selection.get("scheduled"):
        return [item for item in given if assets is None or item.prompt.asset in assets]
    start = selection["start"]
    return schedule(
        rulebook,
        choice,
        start,
        start + round(selection["days"] * DAY),
        which=selection.get("which", "scored"),
        competitions=selection.get("competitions"),
        assets=assets,
        cadence=selection.get("cadence"),
        request_lead=request_lead,
        num_simulations=selection.get("num_simulations"),
    )


def _recorded(selection: Selection) -> dict[str, Any]:
    """Return the choices that are not settings, for the record."""
    competitions, assets = selection.get("competitions"), selection.get("assets")
    given = selection.get("scheduled")
    return {
        "competitions": list(competitions) if competitions else None,
        "assets": list(assets) if assets else None,
        "which": selection.get("which", "scored"),
        "cadence": selection.get("cadence"),
        "num_simulations": selection.get("num_simulations"),
        "partial": selection.get("partial", False),
        "prompts": _digest(given) if given else None,
    }


_Make = Callable[[str, int, int], object]


def _synthetic(settings: LoadedSettings, rulebook: Rulebook, now: int | None) -> _Make | None:
    """Return a function that generates the synthetic bars of an asset between two labels; None if none are needed."""
    values = settings.values
    if now is None or "simulated" not in (values.data.feed, values.data.scored_feed):
        return None
    source, cache = make_feed("simulated", values, rulebook), local_cache(values.data.cache_dir)
    return lambda asset, begin, end: fetch_missing(cache, source, asset, begin, end, now=now)


def _warmup(name: str, asset: str, settings: LoadedSettings, rulebook: Rulebook, present: int) -> int:
    """Return a forecaster's warm-up; one that cannot be made fails here, before bars are read."""
    if refitted(name, settings, rulebook):
        return Model.of(name, rulebook.asset(asset), settings).warmup
    return load_model(name, rulebook.asset(asset), settings, present).warmup


def _history(
    cache: Cache, feed: str, assets: list[str], settings: LoadedSettings, selection: Selection, make: _Make | None
) -> FitHistory:
    """Find the bars that the fits during a replay see, as far back as the cache reaches."""
    own = settings.values.fit
    end = selection["start"] + round(selection["days"] * DAY)
    span = boundary(selection["start"] - HOUR, own.every) - own.history, boundary(end, own.every)
    if make and settings.values.data.feed == "simulated":
        for asset in own.assets or assets:
            make(asset, *span)
    return FitHistory.find(cache, feed, own.assets or assets, *span)


def _digest(prompts: Sequence[Scheduled]) -> str:
    """Return the digest that represents a list of prompts in the record of a run."""
    return hashlib.sha256(
        repr([(item.prompt, item.rule.name, item.published) for item in prompts]).encode()
    ).hexdigest()


def published_digests(items: Iterable[Scheduled]) -> dict[str, str]:
    """Return a digest of the published paths of each asset that has any, by "field/asset/paths"."""
    found: dict[str, Any] = {}
    for item in sorted((item for item in items if item.published), key=lambda item: item.prompt):
        key = f"field/{item.prompt.asset}/paths"
        found.setdefault(key, hashlib.sha256()).update(repr((item.prompt, item.published)).encode())
    return {key: sha.hexdigest() for key, sha in found.items()}
