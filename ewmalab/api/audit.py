"""Audits of live answers: track records, probes and rehearsals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ewmalab.analysis.serving import serving
from ewmalab.api.inputs import Names, Progress, Time, assets_of, counter, feed_of, present, time_of
from ewmalab.api.result import Outcome, Result
from ewmalab.atomic_files import check_folder
from ewmalab.errors import ChainError, ConfigError
from ewmalab.forecast.load import load_forecaster
from ewmalab.live.audit import track_record as records
from ewmalab.live.audit.answer_log import LiveLog
from ewmalab.live.audit.probe import Prober, next_prompts, summarise
from ewmalab.live.audit.track_record import TrackRecord
from ewmalab.live.clock import make_clock
from ewmalab.live.miner.chain import make_chain
from ewmalab.live.miner.endpoint import Endpoint
from ewmalab.live.miner.wallet import load_wallet
from ewmalab.live.miners import log_folder, own_settings
from ewmalab.live.rehearsal import rehearse as rehearsals
from ewmalab.live.rehearsal.rehearse import Rehearsal
from ewmalab.report.text.checks import parity_text
from ewmalab.report.text.predictions import replies_text
from ewmalab.report.text.track_record import track_text
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings, load_settings

if TYPE_CHECKING:
    from ewmalab.report.pages.page import Report


@dataclass(frozen=True)
class LoggedTrackRecord(TrackRecord, Result):
    """A track record and its log."""

    log: LiveLog

    def text(self) -> str:
        return track_text(self)

    def json(self) -> Any:
        return self.plain()

    def page(self) -> Report:
        from ewmalab.report.pages.live import live_report

        answers = LiveLog.read(self.log.folder).answers
        return live_report(serving(answers), self, self.log.folder.resolve().name)


@dataclass(frozen=True)
class JudgedRehearsal(Rehearsal, Result):
    """A rehearsal and its verdicts."""

    @property
    def ok(self) -> bool:
        return all(reply.accepted for reply in self.replies) and not (
            self.parity.differences or self.parity.backtest.differences
        )

    def text(self) -> str:
        cache = self.settings.values.data.cache_dir
        return (
            replies_text(summarise(self.replies))
            + parity_text(self.parity)
            + "\n"
            + track_text(self.record)
            + f"\nlog: {self.log_dir}; draw it with `ewmalab report {self.log_dir} --set data.cache_dir={cache}`\n"
        )

    def json(self) -> Any:
        return {
            "folder": str(self.log_dir.parent),
            "log": str(self.log_dir),
            "answers": summarise(self.replies),
            "parity": {
                "answers": self.parity.answers,
                "identical": self.parity.identical,
                "backtest_same": self.parity.backtest.same,
                "backtest_late": self.parity.backtest.late,
            },
            "track": self.record.plain(),
        }

    def page(self) -> Report:
        from ewmalab.report.pages.live import live_report

        return live_report(serving(LiveLog.read(self.log_dir).answers), self.record, self.log_dir.parent.name)


def track_record(
    log_dir: Path | str | None = None,
    *,
    shadows: Sequence[str] = (),
    days: float | None = None,
    fetch: bool = False,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
) -> LoggedTrackRecord:
    """Score the logged answers of a live miner against realised prices.

    Parameters
    ----------
    log_dir : path, optional
        By default that of the settings.
    shadows : sequence of str
        Other forecasters to score on the same prompts.
    days : float, optional
        Score only the last days of the log.
    fetch : bool
        Fetch realised prices that the cache lacks.
    settings : LoadedSettings, optional
    progress : callable, optional
        Called with prompts done and the total.

    Raises
    ------
    StateError, MissingDataError, ForecasterError, FeedError
    """
    settings = own_settings(settings or load_settings())
    log = LiveLog.read(Path(log_dir or log_folder(settings.values.live)), answers=False)
    now = int(make_clock(settings.values.live.clock).now())
    found = records.track_record(log, settings, now=now, shadows=shadows, days=days, fetch=fetch, progress=progress)
    return LoggedTrackRecord(**{field.name: getattr(found, field.name) for field in fields(found)}, log=log)


def probe(
    address: str,
    *,
    axon: str | None = None,
    asset: str = "BTC",
    competition: str | None = None,
    count: int = 1,
    concurrency: int = 1,
    timeout: float = 20.0,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
) -> Outcome[dict[str, Any]]:
    """Send signed prompts to a miner and judge its answers as validators do.

    Parameters
    ----------
    address : str
        ``host:port``.
    axon : str, optional
        The miner's hotkey; by default it is looked up on the chain.
    asset : str
    competition : str, optional
        By default all competitions of the asset, in turn.
    count, concurrency : int
        Prompts to send, and how many at once.
    timeout : float
        Seconds to wait for an answer.
    settings : LoadedSettings, optional
        Name the wallet that signs, and the chain.
    progress : callable, optional
        Called with answers judged and the total.

    Raises
    ------
    ChainError, ConfigError, RulebookError
    """
    settings, rulebook = settings or load_settings(), load_rulebook()
    _check_address(address)
    symbol = rulebook.asset(asset.upper()).symbol
    live = settings.values.live
    own = load_wallet(live)
    if axon is None:
        neurons = make_chain(live, rulebook, own).neurons()
        wanted = Endpoint.parse(address)
        found = (n.hotkey for n in neurons if wanted is not None and Endpoint.parse(n.axon) == wanted)
        axon = next(found, None)
        if axon is None:
            raise ChainError(f"no miner is registered at {address}: name its hotkey with --axon")
    prompts = next_prompts(rulebook, symbol, competition, int(make_clock(live.clock).now()), count)
    prober, step = Prober(f"http://{address}", own.hotkey, axon, connections=concurrency), counter(progress, count)
    replies = summarise(prober.load(prompts, lambda _: step(), timeout=timeout))
    return Outcome("Answers", replies, replies_text, dict, replies["accepted"] == replies["prompts"])


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ConfigError(f"{address!r} is not an address: write HOST:PORT, such as 127.0.0.1:8091")


def rehearse(
    forecaster: str | None = None,
    *,
    start: Time = "2026-10-03T04:00",
    hours: float = 1.0,
    speed: float = 60.0,
    feed: str = "simulated",
    assets: Names = None,
    faults: float = 0.0,
    shadows: Sequence[str] = (),
    folder: Path | str | None = None,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
) -> JudgedRehearsal:
    """Run the whole live stack on loopback, faster than real time, and judge its answers.

    Parameters
    ----------
    forecaster : str, optional
        By default the setting ``live.forecaster``.
    start : str or int
        Market time of the start.
    hours : float
        Hours of prompts.
    speed : float
        Market seconds per second.
    feed : str
        ``simulated``, or a feed in the cache.
    assets : str or sequence of str, optional
    faults : float
        Share of the feed's answers with a random fault.
    shadows : sequence of str
        Forecasters to score on the same prompts.
    folder : path, optional
        A new folder for cache, states and log; by default ``rehearsals/<now>``.
    settings : LoadedSettings, optional
    progress : callable, optional
        Called with prompts answered and the total.

    Raises
    ------
    ForecasterError, ConfigError, StateError, MissingDataError
    """
    settings = settings or load_settings()
    if forecaster is not None:
        settings = settings.with_flags({"live.forecaster": forecaster})
    feed_of(feed)
    place = Path(folder or f"rehearsals/{present()}")
    check_folder(place)
    for name in (settings.values.live.forecaster, *shadows):
        load_forecaster(name, load_rulebook().asset("BTC"), settings)  # a wrong name shows before a server starts
    found = rehearsals.rehearse(
        settings,
        place,
        start=time_of(start),
        hours=hours,
        speed=speed,
        feed=feed,
        assets=assets_of(assets),
        faults=faults,
        shadows=shadows,
        progress=progress,
    )
    return JudgedRehearsal(**{field.name: getattr(found, field.name) for field in fields(found)})
