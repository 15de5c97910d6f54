"""Prices from the feed that validators score, while an asset's own feed has none."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ewmalab.live.status import read_heartbeat
from ewmalab.live.updater.follower import Follower
from ewmalab.times import MINUTE

STEADY = 30 * MINUTE
"""Seconds for which a feed must have had prices again before it is used again."""
_SHARE = 0.8  # of the minutes of that time

log = logging.getLogger("ewmalab.updater")


@dataclass
class Standby:
    """Follows an asset on the scored feed, and serves its state, while the asset's own feed has no new bars.

    Parameters
    ----------
    own, scored : Follower
        The followers on the asset's own feed and on the scored one. One of them saves its states.
    stale_after : int
        Seconds without a new bar after which the other feed is tried.
    """

    own: Follower
    scored: Follower
    stale_after: int

    def __post_init__(self) -> None:
        self.scored.holding = True

    @property
    def serving(self) -> Follower:
        """Return the follower whose states are saved."""
        return self.own if self.scored.holding else self.scored

    def restore(self) -> list[str]:
        """Continue from the saved state; if the last updater had fallen back to the scored feed, so does this one."""
        note = read_heartbeat(self.own.store.root)
        entry = note["assets"].get(self.own.asset, {}) if note else {}
        names = (self.scored.feed.name, self.own.feed.name)
        if (entry.get("feed"), entry.get("instead_of")) == names:
            self._serve(self.scored)
        return self.serving.restore()

    def update(self, now: int) -> None:
        """Update the followers that are needed, and choose which one serves; see `Follower.update`."""
        self.own.update(now)
        if self.serving is self.own and self._is_fresh(self.own, now):
            return
        self.scored.update(now)
        if self.serving is self.own and self._is_fresh(self.scored, now):
            log.warning(
                "%s: %s has no prices: from %s instead", self.own.asset, self.own.feed.name, self.scored.feed.name
            )
            self._serve(self.scored, now)
        elif self.serving is self.scored and self._is_steady(self.own, now):
            log.warning("%s: %s has prices again", self.own.asset, self.own.feed.name)
            self._serve(self.own, now)

    def _serve(self, chosen: Follower, now: int | None = None) -> None:
        other = self.own if chosen is self.scored else self.scored
        chosen.generation = max(chosen.generation, other.generation)
        chosen.holding, other.holding = False, True
        if now is not None:
            chosen.publish(now)

    def _is_fresh(self, follower: Follower, now: int) -> bool:
        return follower.newest is not None and now - (follower.newest + MINUTE) <= self.stale_after

    def _is_steady(self, follower: Follower, now: int) -> bool:
        recent = len(follower.bars.between(now - STEADY, now))
        return self._is_fresh(follower, now) and recent >= _SHARE * STEADY / MINUTE
