"""The newest prompts that the cache can score: the default of commands that get no date."""

from __future__ import annotations

from collections.abc import Sequence

from ewmalab.market.cache import open_cache
from ewmalab.market.feeds.make import cache_name
from ewmalab.replay.data import newest_scorable_days
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.settings.schema import Settings
from ewmalab.times import parse_time

_SIMULATED_START = parse_time("2026-01-15")


def newest_days(
    settings: Settings,
    days: float,
    rules: RuleChoice,
    competitions: Sequence[str] | None = None,
    assets: Sequence[str] | None = None,
) -> tuple[int, Sequence[str] | None]:
    """Return the start of the newest `days` that can be scored, and the assets that can be prompted in them.

    Parameters
    ----------
    settings : Settings
    days : float
    rules : RuleChoice
    competitions : sequence of str, optional
    assets : sequence of str, optional
        By default those that the cache has and the rules prompt; None in the result means all.

    Raises
    ------
    MissingDataError
        If the cache has no bars of the feed.
    """
    data = settings.data
    if data.feed == "simulated":
        return _SIMULATED_START, assets
    feeds = {cache_name(name, settings) for name in (data.feed, data.scored_feed or data.feed)}
    start, found = newest_scorable_days(open_cache(data.cache_dir), feeds, days, assets)
    if assets is not None:
        return start, assets
    prompted = {asset for c in rules.at(load_rulebook(), start).select(competitions) for asset in c.assets}
    return start, [asset for asset in found if asset in prompted] or None
