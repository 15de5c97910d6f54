"""The start of `ewmalab live`: check that its processes can run, then become their supervisor."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from ewmalab.atomic_files import check_folder
from ewmalab.live import supervisor
from ewmalab.live.clock import make_clock
from ewmalab.live.feeds import choose_feeds
from ewmalab.live.miner import chain as chains
from ewmalab.live.miner.wallet import load_wallet
from ewmalab.live.miners import all_miners
from ewmalab.live.orphans import refuse_if_taken
from ewmalab.live.state_store import StateStore
from ewmalab.live.supervisor import Stack
from ewmalab.live.warm_up import warm_up
from ewmalab.replay.fits import load_model
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings

_ROOM = 1 << 20  # bytes that a first state or the first bars take


def run_live(settings: LoadedSettings, options: Sequence[str], log_level: str) -> None:
    """Keep an updater and a miner running until signalled. This process is replaced by their supervisor.

    What the checks load is several times the memory that a supervisor needs, and only another program frees it. Its
    process id stays the same. The kernels are compiled here once, for the same reason: a process that reads them from
    numba's cache is much smaller than one that has compiled them.

    Parameters
    ----------
    settings : LoadedSettings
    options : sequence of str
        Command-line options with which both processes load these settings.
    log_level : str

    Raises
    ------
    ConfigError, RulebookError, ForecasterError, ChainError, StateError
        Raised once here, before any child starts, instead of by children that restart over and over.
    """
    live, rulebook = settings.values.live, load_rulebook()
    clock = make_clock(live.clock)
    miners = {name: own.values.live for name, own in all_miners(settings).items()}
    for own in miners.values():
        chains.make_chain(own, rulebook, load_wallet(own))
    now = int(clock.now())
    assets = choose_feeds(settings.values, rulebook, now).feeds
    models = [load_model(live.forecaster, rulebook.asset(asset), settings, now) for asset in assets]
    for own in miners.values():
        refuse_if_taken(own)
    _check_room(settings, assets)
    warm_up(models[0], rulebook, clock.now())
    stack = Stack(
        tuple(options),
        str(live.state_dir),
        tuple((name, own.monitor_host, own.monitor_port) for name, own in miners.items()),
        clock.speed,
        log_level,
        str(live.log_dir / "messages" / "supervisor.log"),
        live.message_files,
    )
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", supervisor.__name__, json.dumps(asdict(stack))])


def _check_room(settings: LoadedSettings, assets: Iterable[str]) -> None:
    """Refuse a first start without room for states and bars; with a state, a miner answers while the disk is full.

    Raises
    ------
    ConfigError
    """
    folder = settings.values.live.state_dir
    if any(StateStore(folder).path(asset).exists() for asset in assets):
        return
    check_folder(folder, _ROOM, "--state-dir")
    check_folder(Path(settings.values.data.cache_dir), _ROOM, "data.cache_dir")
