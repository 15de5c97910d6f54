"""The miner as a process, and the allowlist for its firewall."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event

from ewmalab.errors import ChainError
from ewmalab.live.clock import Clock, make_clock
from ewmalab.live.fit_note import with_newest_fit
from ewmalab.live.miner import chain as chains
from ewmalab.live.miner.directory import SNAPSHOT, read_snapshot, with_allowed
from ewmalab.live.miner.firewall import Allowlist, allowlist
from ewmalab.live.miner.miner import Miner
from ewmalab.live.miner.wallet import load_wallet
from ewmalab.live.miners import own_settings
from ewmalab.live.processes import Load, until_signalled
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import iso

_AWAY_PAUSE = 30.0  # seconds until the chain is queried again


def run_miner(load: Load) -> None:
    """Answer validators until signalled; SIGHUP reloads the settings."""

    def fitted() -> LoadedSettings:
        return with_newest_fit(own_settings(load()))

    settings = fitted()
    live = settings.values.live
    own = load_wallet(live)
    chain = chains.make_chain(live, load_rulebook(), own)
    miner = Miner(settings, own.hotkey.ss58_address, chain, make_clock(live.clock), fitted)
    miner.stop = until_signalled(miner.reconfigure)
    miner.run()


def allowlists(
    settings: LoadedSettings, stop: Event, every: float | None, say: Callable[[str], None]
) -> Iterator[Allowlist]:
    """Yield whom a firewall should let in, each time that it has changed.

    While the chain cannot be reached, the list that a miner has saved serves, if there is one.

    Parameters
    ----------
    settings : LoadedSettings
    stop : Event
        Ends the watch.
    every : float, optional
        Seconds between two queries; by default there is a single query.
    say : callable
        Called with a message when the chain cannot be reached, which does not end a watch.

    Raises
    ------
    ChainError
        If there is a single query, the chain cannot be reached and no list is saved.
    """
    live, rulebook, clock = settings.values.live, load_rulebook(), Clock()
    chain = chains.make_chain(live, rulebook, None)
    path = live.state_dir / SNAPSHOT
    before: Allowlist | None = None
    while not stop.is_set():
        pause = every
        try:
            neurons = chain.neurons()
        except ChainError as error:
            saved = read_snapshot(path) if before is None else None
            if saved is not None:
                say(f"{error}; the list is made from {path}, saved at {iso(int(saved.at))}")
                neurons = list(saved.neurons)
            elif every is None:
                raise ChainError(f"{error}; {path} has no saved list, so none is written: try again later") from error
            else:
                say(f"{error}; the list is unchanged")
                stop.wait(_AWAY_PAUSE)
                continue
            pause = every and _AWAY_PAUSE
        allowed = with_allowed(neurons, live.allow).values()
        found = allowlist(allowed, live, rulebook, rulebook.at(int(clock.system())))
        if found != before:
            yield found
            before = found
        if pause is None or stop.wait(pause):
            return
