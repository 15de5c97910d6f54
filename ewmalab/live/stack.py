"""The start of `ewmalab live`: check that its processes can run, then become their supervisor."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict

from ewmalab.live import supervisor
from ewmalab.live.clock import make_clock
from ewmalab.live.feeds import choose_feeds
from ewmalab.live.miner import chain as chains
from ewmalab.live.supervisor import Stack
from ewmalab.live.warm_up import warm_up
from ewmalab.replay.fits import load_model
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings


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
    ConfigError, RulebookError, ForecasterError, ChainError
        Raised once here, before any child starts, instead of by children that restart over and over.
    """
    live, rulebook = settings.values.live, load_rulebook()
    clock = make_clock(live.clock)
    chains.make_chain(live, rulebook, chains.load_wallet(live))
    now = int(clock.now())
    assets = choose_feeds(settings.values, rulebook, now).feeds
    models = [load_model(live.forecaster, rulebook.asset(asset), settings, now) for asset in assets]
    warm_up(models[0], rulebook, clock.now())
    stack = Stack(tuple(options), str(live.state_dir), live.monitor_host, live.monitor_port, clock.speed, log_level)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", supervisor.__name__, json.dumps(asdict(stack))])
