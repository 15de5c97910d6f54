"""The miner as a process, and the allowlist for its firewall."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event

from ewmalab.errors import ChainError
from ewmalab.live.clock import Clock, make_clock
from ewmalab.live.fit_note import with_newest_fit
from ewmalab.live.miner import chain as chains
from ewmalab.live.miner.firewall import Allowlist, allowlist
from ewmalab.live.miner.miner import Miner
from ewmalab.live.miner.wallet import load_wallet
from ewmalab.live.miners import own_settings
from ewmalab.live.processes import Load, until_signalled
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings

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
        If there is a single query and the chain cannot be reached.
    """
    rulebook, clock = load_rulebook(), Clock()
    chain = chains.make_chain(settings.values.live, rulebook, None)
    before: Allowlist | None = None
    while not stop.is_set():
        try:
            rules = rulebook.at(int(clock.system()))
            live = settings.values.live
            found = allowlist(chains.with_allowed(chain.neurons(), live.allow).values(), live, rulebook, rules)
        except ChainError as error:
            if every is None:
                raise
            say(f"{error}; the list is unchanged")
            stop.wait(_AWAY_PAUSE)
            continue
        if found != before:
            yield found
            before = found
        if every is None or stop.wait(every):
            return
