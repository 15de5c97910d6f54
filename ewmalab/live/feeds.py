"""The choice of each asset's feed in production."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ewmalab.errors import ConfigError
from ewmalab.live.clock import Clock
from ewmalab.market.feeds.base import Feed
from ewmalab.market.feeds.host import HttpOptions
from ewmalab.market.feeds.make import make_feed
from ewmalab.rulebook import Rulebook
from ewmalab.settings.schema import Settings
from ewmalab.times import HOUR

# A failed live update is retried a minute later, so it must not delay the other assets for long.
LIVE_HTTP = HttpOptions(timeout=(3, 8), attempts=2, max_backoff=2.0, max_silence=5.0, deadline=20.0)


def live_http(speed: float) -> HttpOptions:
    """Return the options of a live HTTP client when market time runs `speed` times as fast as real time."""
    if speed in (0.0, 1.0):
        return LIVE_HTTP
    return replace(
        LIVE_HTTP,
        deadline=LIVE_HTTP.deadline * speed,
        max_silence=LIVE_HTTP.max_silence * speed,
        monotonic=lambda: time.monotonic() * speed,
        sleep=lambda seconds: time.sleep(seconds / speed),
    )


_KEYLESS = ("binance", "hyperliquid")  # feeds that anybody can fetch

LEAD = HOUR
"""Seconds before an asset's first prompts from which it is followed, so that its state is there in time."""


@dataclass(frozen=True, slots=True)
class FeedChoice:
    """The feed of each asset, and what to log about it.

    Attributes
    ----------
    feeds : mapping of asset to feed name
    line : str
        The choice in words, logged when a process starts.
    warnings : tuple of str
        Assets whose model uses another feed than the one that validators score.
    scored : mapping of asset to feed name
        Where to look if an asset's own feed has no prices: the scored feed, if it is another one.
    """

    feeds: Mapping[str, str]
    line: str
    warnings: tuple[str, ...]
    scored: Mapping[str, str] = field(default_factory=dict)


def eras(rulebook: Rulebook, now: float) -> tuple[int, int]:
    """Return when the rules began that decide which assets and feeds to serve; another value means a new choice."""
    return rulebook.at(int(now)).on, rulebook.at(int(now) + LEAD).on


def live_assets(settings: Settings, rulebook: Rulebook, now: int) -> tuple[str, ...]:
    """Return the assets to serve: those in the settings, else all that compete now or soon.

    Raises
    ------
    RulebookError
        If the rulebook does not know an asset.
    """
    chosen = tuple(dict.fromkeys(asset.upper() for asset in settings.live.assets))
    for asset in chosen:
        rulebook.asset(asset)
    competitions = (c for when in (now, now + LEAD) for c in rulebook.at(when).competitions.values())
    return chosen or tuple(dict.fromkeys(asset for c in competitions for asset in c.assets))


def choose_feeds(settings: Settings, rulebook: Rulebook, now: int, *, running: bool = False) -> FeedChoice:
    """Return the feed of each served asset.

    ``pyth`` (and ``auto`` with a key) uses Pyth for every asset that it has. ``auto`` without a key uses the feed that
    validators score, as does an asset that the wanted feed lacks. If the scored feed cannot be fetched either, another
    one serves, with a warning.

    Parameters
    ----------
    settings : Settings
    rulebook : Rulebook
    now : int
        Market time.
    running : bool
        Whether processes run already; then an asset that no feed has any more is left out with a warning.

    Raises
    ------
    ConfigError
        If no feed has an asset.
    """
    wanted, why = _wanted(settings)
    served = live_assets(settings, rulebook, now)
    if wanted == "simulated":
        every = dict.fromkeys(served, wanted)
        return FeedChoice(every, _feeds_line(every, why), ("SYNTHETIC prices: not market data",), {})
    rules, soon = rulebook.at(now), rulebook.at(now + LEAD)
    ended: list[str] = []
    feeds: dict[str, str] = {}
    instead: dict[str, str] = {}
    others: dict[tuple[str, str], list[str]] = {}
    for asset in served:
        known = rulebook.asset(asset).symbols
        later = soon.assets[asset].scored_feed
        scored = rules.assets[asset].scored_feed or later
        name = next((name for name in (wanted, scored, later, *_KEYLESS) if name in known), None)
        if name is None:
            if not running:
                raise ConfigError(f"live.assets: no usable feed for {asset}; known: {', '.join(known) or 'none'}")
            ended.append(asset)
            continue
        feeds[asset] = name
        if scored not in (None, name):
            others.setdefault((name, str(scored)), []).append(asset)
            if scored in known:
                instead[asset] = scored
    if not feeds:
        raise ConfigError(f"live.assets: no usable feed for {' '.join(ended)}")
    warnings = [
        f"{' '.join(assets)}: the model uses {name}, validators score {scored}"
        for (name, scored), assets in others.items()
    ]
    if ended:
        warnings.append(f"{' '.join(ended)}: not served, because no feed has it now")
    return FeedChoice(feeds, _feeds_line(feeds, why), tuple(warnings), instead)


def _wanted(settings: Settings) -> tuple[str, str]:
    """Return the feed that is wanted for every asset, empty for the scored ones, and why."""
    if settings.live.feed != "auto":
        return settings.live.feed, "as configured"
    if settings.feeds.pyth.api_key.get_secret_value():
        return "pyth", "PYTH_API_KEY is set"
    return "", "no PYTH_API_KEY: the feeds that validators score"


def _feeds_line(feeds: Mapping[str, str], why: str) -> str:
    listed = (f"{name}: {' '.join(a for a in feeds if feeds[a] == name)}" for name in dict.fromkeys(feeds.values()))
    return f"feeds ({why}): {'; '.join(listed)}"


def make_feeds(
    choice: FeedChoice, settings: Settings, rulebook: Rulebook, clock: Clock
) -> tuple[dict[str, Feed], dict[str, Feed]]:
    """Return each asset's feed, and the scored feed of those that use another one.

    Assets of one feed share it and its rate limit, which counts market time.

    Parameters
    ----------
    choice : FeedChoice
    settings : Settings
    rulebook : Rulebook
    clock : Clock
        Its speed scales the HTTP options.
    """
    options = live_http(clock.speed)
    names = dict.fromkeys([*choice.feeds.values(), *choice.scored.values()])
    made = {name: make_feed(name, settings, rulebook, options) for name in names}
    own, scored = ({asset: made[name] for asset, name in feeds.items()} for feeds in (choice.feeds, choice.scored))
    return own, scored
