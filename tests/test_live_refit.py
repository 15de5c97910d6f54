"""Fits in the background: all take up a new one at once, answers tell which it was, and a failure harms nothing."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Event, Thread
from typing import Any

import orjson
import pytest
from live_rig import PATIENCE, START, SettableClock, Simulated, live_settings, rig, until

from ewmalab.forecast.seasonal_har.artifact import read_artifact
from ewmalab.forecast.seasonal_har.fit import fit
from ewmalab.live.audit.answer_log import LiveLog
from ewmalab.live.audit.parity import check_parity
from ewmalab.live.updater.fits import NOTE, Refitter, read_note, refit_now, with_newest_fit
from ewmalab.live.updater.updater import Updater
from ewmalab.market.bars import Bars
from ewmalab.market.remote import local_cache
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY

MIDNIGHT = START // DAY * DAY
FEED = "binance"
FLAGS = {"live__forecaster": "seasonal-har", "seasonal_har__refit": "1d", "seasonal_har__history": "9d"}


def fill(settings: LoadedSettings, days: int = 9) -> None:
    """Put bars of the past into the cache."""
    begin, end = MIDNIGHT - days * DAY, START // 60 * 60
    bars = Simulated("BTC").between(begin, end)
    local_cache(settings.values.data.cache_dir).write(
        FEED, "BTC", bars, [(begin, end)], source="the market of the test", now=end, synthetic=True, replace=True
    )


@pytest.fixture(scope="module", autouse=True)
def each_fit_once() -> Iterator[None]:
    """Make each fit of this process once; `test_seasonal_har` shows that it depends on the bars of its past alone."""
    made: dict[Any, Any] = {}

    def once(bars: Mapping[str, Bars], rulebook: Any, *, end: int, **options: Any) -> Any:
        key = (*((asset, own.digest()) for asset, own in bars.items()), end, *options.items())
        if key not in made:
            made[key] = fit(bars, rulebook, end=end, **options)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ewmalab.forecast.seasonal_har.refit.fit", once)
        yield


@pytest.fixture
def settings(tmp_path: Path) -> LoadedSettings:
    made = live_settings(tmp_path, "http://127.0.0.1:9", ["BTC"], **FLAGS, seasonal_har__folder=str(tmp_path / "fits"))
    fill(made)
    made.values.live.state_dir.mkdir(parents=True)
    return made


@pytest.fixture
def stop() -> Iterator[Event]:
    event = Event()
    yield event
    event.set()


def refitter(settings: LoadedSettings, now: float) -> Refitter:
    return Refitter(lambda: settings, lambda: {"BTC": FEED}, SettableClock(now), Event())


def test_the_newest_fit_is_in_force_and_no_other_setting_changes(settings: LoadedSettings) -> None:
    assert with_newest_fit(settings) is settings
    refit_now(settings, {"BTC": FEED}, MIDNIGHT)
    artifact = with_newest_fit(settings).values.seasonal_har.artifact
    assert list(orjson.loads(Path(artifact).read_bytes())["assets"]) == ["BTC"]
    assert with_newest_fit(settings).dump() == settings.with_flags({"seasonal_har.artifact": artifact}).dump()
    never = settings.with_flags({"seasonal_har.refit": "0s"})
    assert with_newest_fit(never) is never
    other = settings.with_flags({"live.forecaster": "ewma"})
    assert with_newest_fit(other) is other


@pytest.mark.parametrize(
    "note", [b"", b"{", b"[]", b"{}", b'{"end": "x", "artifact": "y"}', b'{"end": 1, "artifact": null}']
)
def test_a_damaged_note_is_as_none(note: bytes, settings: LoadedSettings) -> None:
    (settings.values.live.state_dir / NOTE).write_bytes(note)
    assert read_note(settings.values.live.state_dir) is None
    assert with_newest_fit(settings) is settings


def test_a_fit_whose_artifact_is_gone_or_damaged_is_made_again(settings: LoadedSettings, stop: Event) -> None:
    refit_now(settings, {"BTC": FEED}, MIDNIGHT)
    artifact = Path(with_newest_fit(settings).values.seasonal_har.artifact)
    damages: tuple[Callable[[Path], object], ...] = (lambda path: path.write_bytes(b"{}"), Path.unlink)
    for damage in damages:
        damage(artifact)
        read_artifact.cache_clear()  # as in another process
        assert with_newest_fit(settings) is settings
    made = refitter(settings, START)
    made.step(stop)
    assert made.fitted.is_set()
    assert with_newest_fit(settings).values.seasonal_har.artifact == str(artifact)


def test_a_fit_is_made_when_it_is_due_and_once(settings: LoadedSettings, stop: Event) -> None:
    made = refitter(settings, START)
    again = made.step(stop)
    assert made.fitted.is_set()
    assert again == MIDNIGHT + DAY + 5
    first = read_note(settings.values.live.state_dir)
    assert first is not None
    assert first["end"] == MIDNIGHT
    made.fitted.clear()
    assert made.step(stop) == again
    assert not made.fitted.is_set()
    made.clock.set(again)  # type: ignore[attr-defined]
    made.step(stop)
    second = read_note(settings.values.live.state_dir)
    assert second is not None
    assert (second["end"], second["artifact"] != first["artifact"]) == (MIDNIGHT + DAY, True)


def test_a_fit_that_fails_leaves_the_one_before_in_force(settings: LoadedSettings, stop: Event) -> None:
    refit_now(settings, {"BTC": FEED}, MIDNIGHT)
    before = read_note(settings.values.live.state_dir)
    for path in Path(settings.values.data.cache_dir).rglob("*.parquet"):
        path.write_bytes(b"damaged")
    made = refitter(settings, MIDNIGHT + DAY)
    again = made.step(stop)
    assert not made.fitted.is_set()
    assert MIDNIGHT + DAY < again < MIDNIGHT + DAY + 3600
    assert read_note(settings.values.live.state_dir) == before


def test_too_few_bars_make_no_fit_and_no_noise(settings: LoadedSettings, stop: Event) -> None:
    short = settings.with_flags({"data.cache_dir": str(settings.values.data.cache_dir) + "-short"})
    fill(short, days=3)
    made = refitter(short, START)
    made.step(stop)
    assert read_note(settings.values.live.state_dir) == {"artifact": "", "end": MIDNIGHT}
    assert with_newest_fit(short) is short


def test_it_ends_when_told_to_and_leaves_a_fit_unfinished(settings: LoadedSettings, stop: Event) -> None:
    thread = Thread(target=refitter(settings, START).run, args=(stop,), daemon=True)
    thread.start()
    assert until(lambda: bool(multiprocessing.active_children()))
    stop.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert read_note(settings.values.live.state_dir) is None


def test_answers_before_and_after_a_fit_can_be_made_again(tmp_path: Path) -> None:
    flags: dict[str, Any] = {**FLAGS, "seasonal_har__folder": str(tmp_path / "fits")}
    with rig(tmp_path, flags=flags) as running:
        given = running.miner.settings
        running.miner.load_settings = lambda: with_newest_fit(given)
        assert running.prober().ask(running.prompt(minutes=2)).accepted
        fill(given)
        refit_now(given, {"BTC": FEED}, MIDNIGHT)
        assert until(lambda: bool(running.miner.settings.values.seasonal_har.artifact))
        assert running.prober().ask(running.prompt(minutes=3)).accepted
        after = Updater.of(with_newest_fit(given), running.clock, {"BTC": running.updater.followers["BTC"].feed})
        after.restore()
        after.update(int(running.clock.now()))
        generation = after.followers["BTC"].generation  # the state of the fitted forecaster
        assert until(lambda: running.miner.answerer.known["BTC"].saved.generation == generation)
        assert running.prober().ask(running.prompt(minutes=4)).accepted
        log = LiveLog.read(Path(given.values.live.log_dir))
        unfitted, fitted, followed = (log.settings(record["settings"]) for record in log.answers)
        assert unfitted.values.seasonal_har.artifact == ""
        assert fitted.values.seasonal_har.artifact == followed.values.seasonal_har.artifact != ""
        report = check_parity(log, given)
    assert (report.answers, report.identical) == (3, 3)
