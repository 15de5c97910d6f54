"""`backtest`: from settings to an experiment directory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import orjson

from ewmalab.errors import ConfigError
from ewmalab.experiments.store import Experiment, save_experiment
from ewmalab.forecast.load import load_forecaster
from ewmalab.forecast.protocol import Forecaster
from ewmalab.forecast.seasonal_har.refit import boundary
from ewmalab.market.bars import Bars
from ewmalab.market.feeds.make import cache_name, make_feed
from ewmalab.market.fetch import fetch_missing
from ewmalab.market.manifest import Partition
from ewmalab.market.remote import local_cache, open_cache
from ewmalab.replay.data import Group, ReplayData, group_prompts, load_data, needed, warmup_start
from ewmalab.replay.engine import Row, replay
from ewmalab.replay.fits import Fits, Part, fit_remarks, refitted
from ewmalab.replay.results import SummaryRow, results_table, summarise
from ewmalab.replay.schedule import Scheduled, schedule
from ewmalab.rulebook import Rulebook, RuleChoice, load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.settings.schema import SeasonalHarSettings, Settings
from ewmalab.times import DAY


@dataclass(frozen=True)
class BacktestPlan:
    """A backtest that can run: prompts, bars and forecasters.

    Attributes
    ----------
    settings : LoadedSettings
    rulebook : Rulebook
    choice : RuleChoice
    forecasters : tuple of str
        The last is the baseline.
    start, days : int
        First second, and length.
    groups : dict of (competition, asset) to prompts
    warmups : dict of (competition, asset) to int
        Label of the first warm-up bar.
    data : ReplayData
    options : dict
        The choices that are not settings, for the record.
    fits : mapping of str to Fits
        By name, of the forecasters that are fitted along the way.
    """

    settings: LoadedSettings
    rulebook: Rulebook
    choice: RuleChoice
    forecasters: tuple[str, ...]
    start: int
    days: float
    groups: dict[Group, list[Scheduled]]
    warmups: dict[Group, int]
    data: ReplayData
    options: dict[str, Any] = field(default_factory=dict)
    fits: Mapping[str, Fits] = field(default_factory=dict)

    @property
    def prompts(self) -> int:
        """Return the number of prompts, once per forecaster."""
        return len(self.forecasters) * sum(len(items) for items in self.groups.values())

    def make(self, name: str, asset: str) -> Forecaster[Any]:
        """Return a forecaster for an asset, as the settings have it: one that is fitted along the way is not fitted."""
        return load_forecaster(name, self.rulebook.asset(asset), self.settings)

    def parts(self) -> Iterator[Part]:
        """Yield what the same forecasters answer: all prompts, except where one is fitted along the way."""
        fixed = tuple(name for name in self.forecasters if name not in self.fits)
        if fixed:
            yield Part(fixed, self.groups, self.warmups, self.rulebook, self.settings)
        for fits in self.fits.values():
            yield from fits.parts(self.groups)

    def run(self, *, threads: int, progress: Callable[[int], None] | None = None) -> list[Row]:
        """Replay all prompts."""
        rows = []
        for part in self.parts():
            rows += replay(
                part.names, part.make, part.groups, part.warmups, self.data,
                seed=self.settings.values.run.seed, threads=threads, progress=progress,
            )  # fmt: skip
        order = {name: i for i, name in enumerate(self.forecasters)}
        return sorted(rows, key=lambda row: (order[row.forecaster], row.prompt))

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
        """Return what a user should know about fits and scored prices before trusting the scores."""
        assets = [self.rulebook.asset(asset) for asset in dict.fromkeys(asset for _, asset in self.groups)]
        return [
            *(
                f"note: {line}"
                for name in self.forecasters
                if name not in self.fits
                for line in fit_remarks(name, self.settings, assets)
            ),
            *self._scored_elsewhere(),
        ]

    def remarks(self) -> list[str]:
        """Return what became known of fits along the way."""
        return [f"note: {name}: {words} ({count} {'fits' if count > 1 else 'fit'})"
                for name, fits in self.fits.items() for words, count in fits.said.items()]  # fmt: skip

    def _scored_elsewhere(self) -> list[str]:
        scored = self.settings.values.data.scored_feed or self.settings.values.data.feed
        if self.data.synthetic or scored == "file":
            return []
        others: dict[str, list[str]] = {}
        for asset in dict.fromkeys(asset for _, asset in self.groups):
            official = self.choice.at(self.rulebook, self.start).assets[asset].scored_feed
            if official not in (None, scored):
                others.setdefault(str(official), []).append(asset)
        return [
            f"note: on that date validators scored {', '.join(assets)} on {official}; this replay scores on {scored}"
            for official, assets in others.items()
        ]

    def inputs(self) -> dict[str, Any]:
        """Return all that determines the results (threads and folders do not)."""
        settings = self.settings.values.plain()
        for section, key in (("run", "threads"), ("run", "experiments_dir"), ("data", "cache_dir")):
            del settings[section][key]
        del settings["feeds"]["pyth"]["api_key"], settings["live"], settings["seasonal_har"]["folder"]
        return {
            "kind": "backtest",
            "settings": settings,
            "forecasters": list(self.forecasters),
            "rules": str(self.choice),
            "rulebook": {"version": self.rulebook.version, "sha256": self.rulebook.digest},
            "start": self.start,
            "days": self.days,
            "options": self.options,
            "data": {key: entry.digest for key, entry in sorted(self.data.partitions.items())},
            "synthetic": self.data.synthetic,
        }


def plan_backtest(
    settings: LoadedSettings,
    *,
    start: int,
    days: float,
    rules: RuleChoice | None = None,
    competitions: Sequence[str] | None = None,
    assets: Sequence[str] | None = None,
    forecasters: Sequence[str] | None = None,
    cadence: int | None = None,
    num_simulations: int | None = None,
    partial: bool = False,
    prompts: Sequence[Scheduled] | None = None,
    now: int | None = None,
) -> BacktestPlan:
    """Lay out a backtest and read its bars.

    Parameters
    ----------
    settings : LoadedSettings
    start : int
        Start time of the first prompts, seconds since 1970-01-01 UTC.
    days : float
        Length of the range of start times.
    rules, competitions, assets, cadence, num_simulations
        See `schedule`.
    forecasters : sequence of str, optional
        Instead of the setting ``replay.forecasters``.
    partial : bool
        Score what can be scored where realised prices are missing.
    prompts : sequence of Scheduled, optional
        These very prompts, in time order, instead of those that `schedule` lists.
    now : int, optional
        The present; given it, bars of the synthetic feed that the cache lacks are made.

    Raises
    ------
    RulebookError, MissingDataError, CorruptPartitionError, ForecasterError, ConfigError
    """
    rulebook = load_rulebook()
    choice = rules or RuleChoice()
    values = settings.values
    names = tuple(dict.fromkeys(forecasters or values.replay.forecasters))
    check_settings(values, rulebook)
    scheduled = list(prompts or ()) or schedule(
        rulebook, choice, start, start + round(days * DAY),
        competitions=competitions, assets=assets, cadence=cadence,
        request_lead=values.replay.request_lead, num_simulations=num_simulations,
    )  # fmt: skip
    groups = group_prompts(scheduled)
    for name in names:
        load_forecaster(name, rulebook.asset(scheduled[0].prompt.asset), settings)  # fail before reading bars
    feed = cache_name(values.data.feed, values)
    scored = cache_name(values.data.scored_feed or values.data.feed, values)
    needs = needed(groups, values.replay)
    if now is not None and "simulated" in (values.data.feed, values.data.scored_feed):
        source, cache = make_feed("simulated", values, rulebook), local_cache(values.data.cache_dir)
        for asset, ranges in needs.items():
            fetch_missing(cache, source, asset, min(a for a, _ in ranges), max(b for _, b in ranges), now=now)
    data = load_data(open_cache(values.data.cache_dir), needs, feed, scored, partial=partial)
    fits = {}
    for name in names:
        own = refitted(name, settings)
        if own is not None:
            seen, partitions = _history(own, groups, settings, rulebook, feed, now)
            fits[name] = Fits(name, settings, rulebook, seen, feed, list(needs))
            data = ReplayData(data.model, data.realised, {**data.partitions, **partitions})
    return BacktestPlan(
        settings, rulebook, choice, names, start, days, groups,
        {group: warmup_start(items[0].prompt, values.replay) for group, items in groups.items()},
        data,
        {
            "competitions": list(competitions) if competitions else None,
            "assets": list(assets) if assets else None,
            "cadence": cadence,
            "num_simulations": num_simulations,
            "partial": partial,
            "prompts": _digest(prompts) if prompts else None,
        },
        fits,
    )  # fmt: skip


def _history(
    own: SeasonalHarSettings, groups: Mapping[Group, Sequence[Scheduled]], settings: LoadedSettings,
    rulebook: Rulebook, feed: str, now: int | None,
) -> tuple[dict[str, Bars], dict[str, Partition]]:  # fmt: skip
    """Read the bars that the fits along a replay see, as far back as there are any."""
    values = settings.values
    times = [item.prompt.request_time for items in groups.values() for item in items]
    begin, end = boundary(min(times), own.refit) - own.history, boundary(max(times), own.refit)
    bars: dict[str, Bars] = {}
    partitions: dict[str, Partition] = {}
    for asset in own.assets or dict.fromkeys(asset for _, asset in groups):
        if now is not None and values.data.feed == "simulated":
            cache = local_cache(values.data.cache_dir)
            fetch_missing(cache, make_feed("simulated", values, rulebook), asset, begin, end, now=now)
        rulebook.asset(asset)
        seen, entries = open_cache(values.data.cache_dir).read_with_fingerprint(feed, asset, begin, end)
        if len(seen):
            bars[asset] = seen
            partitions |= {f"{feed}/{asset}/{day}": entry for day, entry in entries.items()}
    return bars, partitions


def backtest(
    plan: BacktestPlan,
    *,
    now: int,
    name: str = "backtest",
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    render: Callable[[list[SummaryRow], Mapping[str, Any]], str] | None = None,
) -> Experiment:
    """Run a plan and write its experiment directory."""
    began = perf_counter()
    rows = plan.run(threads=threads, progress=progress)
    replayed = perf_counter()
    table = results_table(rows)
    summary = summarise(table, plan.forecasters[-1])
    inputs = plan.inputs()
    return save_experiment(
        plan.settings.values.run.experiments_dir,
        name,
        now=now,
        inputs=inputs,
        notes={
            "threads": threads,
            "seconds": round(replayed - began, 3),
            "partitions": {key: entry.sha256 for key, entry in sorted(plan.data.partitions.items())},
            "layers": orjson.loads(plan.settings.dump()),  # what `read_settings` needs to run it again
            "synthetic_parameters": plan.truth(),
            "sources": sorted({entry.source for entry in plan.data.partitions.values()}),
        },
        results=table,
        summary=[row.plain() for row in summary],
        text=render(summary, inputs) if render else "",
    )


def _digest(prompts: Sequence[Scheduled]) -> str:
    """Return what stands for a list of prompts in the record of a run."""
    return hashlib.sha256(repr([(item.prompt, item.rule.name) for item in prompts]).encode()).hexdigest()


def check_settings(settings: Settings, rulebook: Rulebook) -> None:
    """Refuse per-asset settings of assets that the rulebook does not know.

    Raises
    ------
    ConfigError
    """
    known = {"default", *rulebook.symbols}
    for section in ("replay", "ewma", "random_walk", "seasonal_har"):
        for key, value in getattr(settings, section):
            if isinstance(value, dict) and value.keys() - known:
                wrong = ", ".join(sorted(value.keys() - known))
                raise ConfigError(f"{section}.{key}: unknown asset {wrong}; known: {', '.join(rulebook.symbols)}")
