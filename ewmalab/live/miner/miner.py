"""The miner process: states, spot prices, chain and server, each on its own thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import orjson

from ewmalab.errors import ConfigError, EwmalabError
from ewmalab.live.audit.answer_log import AnswerLog
from ewmalab.live.clock import Clock
from ewmalab.live.feeds import choose_feeds, eras
from ewmalab.live.fit_note import read_note
from ewmalab.live.miner.admission import Admission
from ewmalab.live.miner.answers import Answerer
from ewmalab.live.miner.app import MinerApp
from ewmalab.live.miner.chain import Chain, min_stake_of, verify
from ewmalab.live.miner.connection_room import Room
from ewmalab.live.miner.directory import SNAPSHOT, Directory
from ewmalab.live.miner.endpoint import Endpoint, announced_endpoint
from ewmalab.live.miner.health import Health
from ewmalab.live.miner.metrics import Metrics
from ewmalab.live.miner.nonce_store import NewestNonces
from ewmalab.live.miner.serve import Server, allow_connections, bound_port, make_server
from ewmalab.live.miner.spot import Spots
from ewmalab.live.miner.spot_sources import make_spots
from ewmalab.live.miner.turns import Turns
from ewmalab.live.miners import log_folder
from ewmalab.live.processes import take_up_rulebook
from ewmalab.live.state_store import StateStore
from ewmalab.live.warm_up import warm_up
from ewmalab.replay.fits import fit_remarks
from ewmalab.rulebook import Rulebook, load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.settings.schema import LiveSettings
from ewmalab.times import iso

log = logging.getLogger("ewmalab.miner")

_LOOK = 0.25  # seconds between two checks for new states on disk
_SIMULATORS = 2  # threads that compute paths


def _allowed(live: LiveSettings) -> tuple[str, ...]:
    """Return the hotkeys that may call beside those of the chain; without a chain they are the chain."""
    return live.allow if live.chain else ()


@dataclass
class Miner:
    """All parts of a miner process; `run` serves until `stop` is set.

    Parameters
    ----------
    settings : LoadedSettings
    hotkey : str
        Our own address.
    chain : Chain
    clock : Clock
    load_settings : callable, optional
        Returns the current settings; called after `reconfigure`.
    """

    settings: LoadedSettings
    hotkey: str
    chain: Chain
    clock: Clock
    load_settings: Callable[[], LoadedSettings] | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    port: int | None = None
    monitor_port: int | None = None

    def __post_init__(self) -> None:
        self.rulebook: Rulebook = load_rulebook()
        live = self.settings.values.live
        self.metrics = Metrics()
        self.records = AnswerLog(log_folder(live), live.keep_paths)
        self.store = StateStore(live.state_dir)
        self.directory = Directory(self.chain, live.state_dir / SNAPSHOT, self.clock.system, _allowed(live))
        self.spots, self.answerer = self._components(self.settings)
        self._reconfigure = threading.Event()
        self._fit = read_note(live.state_dir, live.forecaster)
        self._eras = eras(self.rulebook, self.clock.now())
        self._spots_stop = threading.Event()
        self.nonces = NewestNonces(live.state_dir, self.hotkey)
        self.gate = Admission(
            self.hotkey,
            verify,
            self.directory.neurons,
            min_stake_of(live, self.rulebook.at(int(self.clock.now()))),
            live.require_permit,
            self.clock.system,
            self.clock.system(),
            self.nonces.earlier,
            self.nonces.take,
        )
        self.room = Room(self.gate.addresses)

    def _components(self, settings: LoadedSettings, *, running: bool = False) -> tuple[Spots, Answerer]:
        now = int(self.clock.now())
        choice = choose_feeds(settings.values, self.rulebook, now, running=running)
        log.info(choice.line)
        for warning in choice.warnings:
            log.warning(warning)
        remarks = fit_remarks(settings.values.live.forecaster, settings, self.rulebook, choice.feeds, now)
        for line in remarks:
            log.warning(line)
        self._feeds = dict(choice.feeds)
        spots = make_spots(choice.feeds, settings.values, self.rulebook, self.clock)
        assets = tuple(choice.feeds)
        return spots, Answerer(settings, self.rulebook, assets, self.store, spots, self.clock, remarks)

    def _match_spots(self) -> None:
        """Take spot prices from the feeds that the states are from, should an updater have fallen back to others."""
        known = self.answerer.known
        symbols = {asset: self.rulebook.asset(asset).symbols for asset in known}
        feeds = self._feeds | {a: k.saved.feed for a, k in known.items() if k.saved.feed in symbols[a]}
        if feeds == self._feeds:
            return
        spots = make_spots(feeds, self.settings.values, self.rulebook, self.clock)
        spots.adopt(self.spots)
        self._feeds = feeds
        self._swap_spots(spots)
        self.answerer.spots = spots

    def _swap_spots(self, spots: Spots) -> None:
        self._spots_stop.set()
        self._spots_stop = threading.Event()
        self.spots = spots
        spots.follow(self.settings.values.live.spot_interval, self._spots_stop)

    def reconfigure(self) -> None:
        """Apply changed settings soon; ports, keys, folders and the chain need a restart."""
        self._reconfigure.set()

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Serve until `stop` is set, then finish the answers in progress."""
        live = self.settings.values.live
        allow_connections()
        self.directory.restore()
        self.answerer.reload()
        warm_up(next(iter(self.answerer.models.values())), self.rulebook, self.clock.now())
        self.app = MinerApp(
            self.gate,
            self.answerer,
            self.records,
            self.metrics,
            Turns(ThreadPoolExecutor(_SIMULATORS, thread_name_prefix="simulate"), _SIMULATORS),
        )
        self.records.start(self.settings)
        self.nonces.start()
        threads = [
            threading.Thread(target=self.directory.run, args=(live.chain_refresh, self.stop), daemon=True),
            threading.Thread(target=self._watch, daemon=True),
        ]
        for thread in threads:
            thread.start()
        self.spots.follow(live.spot_interval, self._spots_stop)
        if live.external_ip:
            threading.Thread(target=self._announce, daemon=True).start()
        try:
            asyncio.run(self._serve(on_ready))
        except SystemExit as error:  # uvicorn raises it when a port is taken
            raise ConfigError(
                f"cannot listen on {live.host}:{live.port} or {live.monitor_host}:{live.monitor_port}: is another "
                "miner running? Choose others with --port and --monitor-port"
            ) from error
        finally:
            self.stop.set()
            self._spots_stop.set()
            self.app.turns.pool.shutdown()
            self.nonces.close()
            self.records.close()

    def health(self) -> dict[str, Any]:
        """Return the health report; see `Health.look`."""
        return self._health.look()

    @property
    def _health(self) -> Health:
        return Health(self.answerer, self.directory, self.records, self.hotkey, self.gate.callers, self.metrics)

    async def _serve(self, on_ready: Callable[[], None] | None) -> None:
        live = self.settings.values.live
        servers: list[Server] = [
            make_server(self.app, live.host, live.port, room=self.room),
            make_server(self._monitor, live.monitor_host, live.monitor_port),
        ]
        running = [asyncio.create_task(server.serve()) for server in servers]
        while not all(server.started for server in servers):
            await asyncio.sleep(0.02)
            for task in running:
                if task.done():
                    task.result()
        self.port, self.monitor_port = map(bound_port, servers)
        log.info("serving on %s:%d, monitor on %s:%d", live.host, self.port, live.monitor_host, self.monitor_port)
        if on_ready:
            on_ready()
        while not self.stop.is_set() and not any(task.done() for task in running):
            await asyncio.sleep(0.1)
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*running)
        for server in servers:  # connections whose callers still do not read
            for connection in list(server.server_state.connections):
                connection.transport.abort()
        await asyncio.sleep(0)

    async def _monitor(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve ``/health`` and ``/metrics``, on their own address because they are not for validators."""
        kind, status, body = b"text/plain; charset=utf-8", 404, b"/health or /metrics\n"
        if scope["path"] == "/health":
            found = await asyncio.to_thread(self.health)
            kind, status = b"application/json", 503 if found["status"] == "failing" else 200
            body = orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE)
        elif scope["path"] == "/metrics":
            self.metrics.connections.set(self.room.count())
            await asyncio.to_thread(self._health.measure)
            status, body = 200, self.metrics.render()
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _watch(self) -> None:
        """Load new states within a second, and new settings when requested."""
        while not self.stop.wait(_LOOK):
            try:
                note = read_note(self.store.root, self.settings.values.live.forecaster)
                if note != self._fit:  # there is a new fit
                    self._fit = note
                    self._reconfigure.set()
                found = eras(self.rulebook, self.clock.now())
                if found != self._eras:  # rules have changed: assets, feeds, stakes
                    self._eras = found
                    self._reconfigure.set()
                if self._reconfigure.is_set():
                    self._reconfigure.clear()
                    self._apply_settings()
                self.answerer.reload()
                self._match_spots()
            except Exception:  # a plug-in's own error: keep the old states, whose age /health shows
                log.exception("new states cannot be loaded")

    def _apply_settings(self) -> None:
        take_up_rulebook(log)
        self.rulebook = load_rulebook()
        before = self._feeds
        try:
            settings = self.settings if self.load_settings is None else self.load_settings()
            self.records.record_settings(settings)  # first, so that no answer names settings that were not recorded
            spots, answerer = self._components(settings, running=True)
            spots.adopt(self.spots)
            answerer.reload()
            answerer.adopt(self.answerer)
        except (EwmalabError, OSError) as error:
            log.error("settings not changed: %s", error)
            self._feeds = before
            return
        self.settings, self.answerer = settings, answerer
        self._swap_spots(spots)
        self.app.answerer = answerer
        live = settings.values.live
        self.records.keep_paths = live.keep_paths
        self.directory.allow_also(_allowed(live))
        self.gate.require_permit = live.require_permit
        self.gate.min_stake = min_stake_of(live, self.rulebook.at(int(self.clock.now())))
        log.info("new settings applied, rules since %s", iso(self.rulebook.at(int(self.clock.now())).on))

    def _announce(self) -> None:
        """Announce our address to the chain, unless it has it already."""
        live = self.settings.values.live
        wanted = announced_endpoint(live)
        if wanted is None:
            return
        if wanted.ip.version == 6 and live.host == "0.0.0.0":
            log.warning(
                "%s is announced, but live.host = 0.0.0.0 takes IPv4 only: set --host :: (both: --host '')", wanted
            )
        while not self.stop.wait(1.0):
            own = self.directory.neurons().get(self.hotkey)
            if own is None:
                continue
            if Endpoint.parse(own.axon) == wanted:
                return
            try:
                self.chain.announce(str(wanted.ip), wanted.port)
                log.info("announced %s", wanted)
                return
            except Exception as error:  # noqa: BLE001  nothing may end this thread before it succeeds
                log.warning("our address is not announced: %s", error)
                self.stop.wait(live.chain_refresh)
