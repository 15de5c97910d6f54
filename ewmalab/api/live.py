"""The live processes and their status. Each function loads only what its process needs, for the sake of its memory."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from ewmalab.api.inputs import Names, Time, assets_of, feed_of, seconds_of, time_of
from ewmalab.api.result import Outcome
from ewmalab.atomic_files import write_atomic
from ewmalab.errors import ConfigError, StateError
from ewmalab.live.processes import Load, end_with_supervisor, log_messages, start_logging, until_signalled
from ewmalab.live.status import read_health
from ewmalab.report.text.status import states_text, status_text
from ewmalab.settings import LoadedSettings, load_settings

if TYPE_CHECKING:
    from ewmalab.live.updater.process import SavedStates

Show = Callable[[str], None]
"""Shows a text to the user."""


def run_live(settings: LoadedSettings, options: Sequence[str] = (), *, log_level: str = "INFO") -> None:
    """Serve validators: keep an updater and a miner running until signalled.

    The calling process is replaced by their supervisor.

    Parameters
    ----------
    settings : LoadedSettings
    options : sequence of str
        Command-line options that give both processes these settings.
    log_level : str
        ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``.

    Raises
    ------
    ConfigError, RulebookError, ForecasterError, ChainError
    """
    from ewmalab.live import stack

    start_logging(log_level)
    stack.run_live(settings, options, log_level)


def run_updater(load: Load, *, log_level: str = "INFO") -> None:
    """Keep the states of all assets current until signalled.

    Parameters
    ----------
    load : callable
        Returns the settings; called again to reload them.
    log_level : str

    Raises
    ------
    ConfigError, RulebookError, ForecasterError, FeedError, StateError
    """
    start_logging(log_level)
    end_with_supervisor()
    log_messages("updater", log_level, load().values.live)
    _need_extra()
    from ewmalab.live.updater import process

    process.run_updater(load)


def update_states(load: Load, *, date: Time | None = None, log_level: str = "INFO") -> Outcome[SavedStates]:
    """Bring the states of all assets up to date once.

    Parameters
    ----------
    load, log_level
        As in `run_updater`.
    date : str or int, optional
        Make the states as of this time.

    Raises
    ------
    ConfigError, RulebookError, ForecasterError, FeedError, StateError
    """
    _need_extra()
    from ewmalab.live.updater import process

    start_logging(log_level)
    found = process.update_once(load(), None if date is None else time_of(date))
    notes = tuple(f"no bars of {asset}: {error}" for asset, error in found.errors.items())
    return Outcome("States", found, states_text, asdict, not notes, notes)


def run_miner(load: Load, *, log_level: str = "INFO") -> None:
    """Answer validators from the newest states until signalled; parameters as in `run_updater`.

    Raises
    ------
    ConfigError, ForecasterError, ChainError, StateError
    """
    start_logging(log_level)
    end_with_supervisor()
    live = load().values.live
    log_messages(f"miner-{live.miner}" if live.miner else "miner", log_level, live)
    from ewmalab.live.miner import process

    process.run_miner(load)


def _need_extra() -> None:
    """Fail at the start if what saves states is not installed, not at the first state."""
    import msgpack  # noqa: F401


def write_allowlist(
    output: Path | None = None,
    *,
    watch: bool = False,
    every: str | int = "5m",
    form: str = "plain",
    settings: LoadedSettings | None = None,
    say: Show = print,
) -> None:
    """Write the validators' IP addresses for a firewall.

    On ``finney`` they include the addresses that the subnet has published, as the rulebook names them.

    Parameters
    ----------
    output : Path, optional
        File instead of standard output.
    watch : bool
        Rewrite it whenever the chain changes, until signalled.
    every : str or int
        Time between two queries of the chain.
    form : str
        ``plain``: one per line; ``nft``, ``ipset`` or ``ufw``: what that firewall takes.
    settings : LoadedSettings, optional
    say : callable
        Called with a message when the chain does not answer, and for each validator whose address it does not know.

    Raises
    ------
    ChainError, ConfigError
    """
    from ewmalab.live.miner.firewall import FORMATS, render
    from ewmalab.live.miner.process import allowlists

    if form not in FORMATS:
        raise ConfigError(f"{form!r} is not one of {', '.join(FORMATS)}")
    settings = settings or load_settings()
    pause = (seconds_of(every) or 300) if watch else None
    for found in allowlists(settings, until_signalled(), pause, say):
        for hotkey in found.unknown:
            say(f"{hotkey} may call and serves no axon: its address is unknown, and a firewall may keep it out")
        text = render(found.addresses, form, settings.values.live.port)
        if output:
            write_atomic(output, text.encode())
        else:
            sys.stdout.write(text)
            sys.stdout.flush()


_SILENT = "silent"  # of several miners, one that does not answer
FAIL_ON = {"degraded": ("degraded", "failing"), "failing": ("failing",)}


def status(settings: LoadedSettings | None = None, *, fail_on: str = "degraded") -> Outcome[dict[str, Any]]:
    """Return the health of the miner on this machine, or of all, by name, if there are several.

    `ranks` are the newest in the cached field; see `fetch_field`.

    Parameters
    ----------
    settings : LoadedSettings, optional
    fail_on : str
        ``degraded``: not ok unless every miner is; ``failing``: not ok if a miner answers nobody.

    Raises
    ------
    ConfigError
        If `fail_on` is neither.
    StateError
        If the only miner does not respond.
    """
    if fail_on not in FAIL_ON:
        raise ConfigError(f"{fail_on!r} is not one of {', '.join(FAIL_ON)}")
    from ewmalab.live.miners import all_miners

    found, miners = {}, all_miners(settings or load_settings())
    for name, own in miners.items():
        try:
            found[name] = read_health(own.values.live.monitor_host, own.values.live.monitor_port)
        except StateError as error:
            if len(miners) == 1:
                raise
            found[name] = {"status": _SILENT, "problems": [str(error)]}
        else:
            found[name]["ranks"] = _ranks(found[name]["uid"], own) if found[name].get("uid") is not None else []
    ok = not any(health["status"] in (_SILENT, *FAIL_ON[fail_on]) for health in found.values())
    if len(miners) == 1:
        (health,) = found.values()
        return Outcome("Status", health, lambda value: status_text(value) + "\n", dict, ok)
    return Outcome("Status", found, lambda value: "\n".join(f"{n}: {_told(v)}\n" for n, v in value.items()), dict, ok)


def _told(health: dict[str, Any]) -> str:
    return health["problems"][0] if health["status"] == _SILENT else status_text(health)


def _ranks(uid: int, settings: LoadedSettings) -> list[dict[str, Any]]:
    from ewmalab.market.field.store import FieldStore

    store = FieldStore(settings.values.data.cache_dir)
    if not store.series():
        return []
    from ewmalab.analysis.field_miner import newest_ranks

    return [asdict(rank) for rank in newest_ranks(store, uid)]


def watch_status(
    settings: LoadedSettings | None = None, *, every: float = 5.0, stop: Event | None = None, show: Show = print
) -> None:
    """Show the status again and again until signalled; a miner that does not answer is shown as well.

    Parameters
    ----------
    settings : LoadedSettings, optional
    every : float
        Seconds between two looks.
    stop : Event, optional
        Ends the watch; by default a signal does.
    show : callable
        Called with each text.
    """
    settings, stop = settings or load_settings(), stop or until_signalled()
    while not stop.is_set():
        try:
            text = status(settings).text()
        except StateError as error:
            text = f"{error}\n"
        show(text)
        stop.wait(every)


def parse_speed(text: str) -> float:
    """Parse the speed of market time, such as ``60x``.

    Raises
    ------
    ConfigError
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x?", text)
    if not match or float(match[1]) <= 0:
        raise ConfigError("expected a number above 0 and an x, such as 60x")
    return float(match[1])


def serve_feed(
    start: Time,
    *,
    feed: str = "simulated",
    speed: str | float = 1.0,
    faults: float = 0.0,
    port: int = 8095,
    assets: Names = None,
    settings: LoadedSettings | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a history over HTTP, in the formats of the real feeds, until signalled.

    Parameters
    ----------
    start : str or int
        Market time of the start.
    feed : str
        ``simulated``, or a feed in the cache.
    speed : str or float
        Speed of market time: ``60x``.
    faults : float
        Share of requests with a random fault.
    port : int
        On 127.0.0.1; 0: any free port.
    assets : str or sequence of str, optional
    settings : LoadedSettings, optional
    say : callable
        Called with messages: the address at the start, the number of requests at the end.

    Raises
    ------
    ConfigError, RulebookError, MissingDataError
    """
    from ewmalab.live.rehearsal.price_server import rehearsal_feed

    settings, begin = settings or load_settings(), time_of(start)
    feed_of(feed)
    factor = parse_speed(speed) if isinstance(speed, str) else speed
    server = rehearsal_feed(settings, begin, factor, feed=feed, assets=assets_of(assets), faults=faults, port=port)
    stop = until_signalled()
    with server:
        what = "SYNTHETIC prices" if server.synthetic else f"cached prices of {feed}"
        say(f"serving {what} at {server.url}, market time {start} at {factor:g}x")
        hosts = " ".join(f"--set feeds.{name}.host={server.url}" for name in ("binance", "hyperliquid"))
        say(f"let live processes use it:  --clock {server.url}/clock {hosts}")
        stop.wait()
    say(f"{server.requests} requests, {server.faults} of them met a fault")
