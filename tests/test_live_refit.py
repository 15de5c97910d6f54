"""Fits in the background: all processes take up a new one, answers name it, and a failure harms nothing."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import har
import mean_move
import numpy as np
import pytest
from live_rig import PATIENCE, START, SettableClock, Simulated, live_settings, rig, until
from mean_move import FITTED

from ewmalab.errors import EwmalabError, ForecasterError
from ewmalab.forecast.model import Fit
from ewmalab.live.audit.answer_log import LiveLog
from ewmalab.live.audit.parity import BacktestParity, check_parity
from ewmalab.live.fit_note import NOTE, read_note, with_newest_fit
from ewmalab.live.updater.refitter import Refitter, refit_now
from ewmalab.live.updater.updater import Updater
from ewmalab.market.cache import local_cache
from ewmalab.market.feeds.simulated import SimulatedFeed
from ewmalab.market.partition import Provenance
from ewmalab.replay.artifacts import Artifact, read_artifact, write_artifact
from ewmalab.replay.fits import load_model
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY, day_name

MIDNIGHT = START // DAY * DAY
FEED = "binance"
FLAGS = {"live__forecaster": FITTED, "fit__every": "1d", "fit__history": "9d"}


def fill(settings: LoadedSettings, days: int = 9) -> None:
    """Put bars of the past into the cache."""
    begin, end = MIDNIGHT - days * DAY, START // 60 * 60
    bars = Simulated("BTC").between(begin, end)
    local_cache(settings.values.data.cache_dir).write(
        FEED, "BTC", bars, [(begin, end)], Provenance("the market of the test", end, synthetic=True), replace=True
    )


@pytest.fixture
def settings(tmp_path: Path) -> LoadedSettings:
    made = live_settings(tmp_path, "http://127.0.0.1:9", ["BTC"], **FLAGS, fit__folder=str(tmp_path / "fits"))
    fill(made)
    made.values.live.state_dir.mkdir(parents=True)
    return made


@pytest.fixture
def stop() -> Iterator[Event]:
    event = Event()
    yield event
    event.set()


class InThread(Thread):
    """A process as far as the refitter sees one, without the seconds that a new interpreter takes to import."""

    exitcode = 0

    def run(self) -> None:
        try:
            super().run()
        except EwmalabError:
            self.exitcode = 1


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fits be made in this process; other tests show that they are made in one of their own, and ended."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: SimpleNamespace(Process=InThread))


def artifact_in_force(settings: LoadedSettings) -> str:
    """The path of the artifact that live processes use; empty if there is none."""
    return next(iter(with_newest_fit(settings).values.fit.artifacts), "")


def refitter(settings: LoadedSettings, now: float) -> Refitter:
    return Refitter(lambda: settings, lambda: {"BTC": FEED}, SettableClock(now), Event())


def test_the_newest_fit_is_in_force_and_no_other_setting_changes(settings: LoadedSettings) -> None:
    assert with_newest_fit(settings) is settings
    refit_now(settings, {"BTC": FEED}, MIDNIGHT)
    path = artifact_in_force(settings)
    artifact = read_artifact(path)
    assert (artifact.forecaster, artifact.feed, artifact.fit.end) == (FITTED, FEED, MIDNIGHT)
    assert list(artifact.seen) == ["BTC"]
    closes = Simulated("BTC").between(MIDNIGHT - 9 * DAY, MIDNIGHT).close
    moves = np.abs(np.diff(np.log(closes)))
    factor = float(np.sqrt(np.mean(moves**2)) / np.mean(moves))
    assert artifact.fit.numbers == {"factor": factor, "assets": ["BTC"]}
    assert with_newest_fit(settings).dump() == settings.with_flags({"fit.artifacts": [path]}).dump()
    never = settings.with_flags({"fit.every": "0s"})
    assert with_newest_fit(never) is never
    other = settings.with_flags({"live.forecaster": "ewma"})
    assert with_newest_fit(other) is other


def test_the_newest_fit_takes_the_place_of_the_forecasters_own_artifact_alone(
    settings: LoadedSettings, tmp_path: Path
) -> None:
    own = Artifact(FITTED, Fit(0, {"factor": 1.0}, ""), FEED, {})
    paths = [str(write_artifact(made, tmp_path)) for made in (own, har.artifact())]
    given = settings.with_flags({"fit.artifacts": paths})
    assert with_newest_fit(given) is given
    refit_now(given, {"BTC": FEED}, MIDNIGHT)
    kept, newest = with_newest_fit(given).values.fit.artifacts
    assert kept == paths[1]
    assert read_artifact(newest).fit.end == MIDNIGHT


def test_a_fit_reaches_the_models_of_updater_and_miner(settings: LoadedSettings) -> None:
    refit_now(settings, {"BTC": FEED}, MIDNIGHT)
    fitted = with_newest_fit(settings)
    fit = read_artifact(artifact_in_force(settings)).fit
    model = load_model(FITTED, load_rulebook().asset("BTC"), fitted, 0)
    assert model.forecaster.factor == fit.numbers["factor"]  # type: ignore[attr-defined]
    updater = Updater.of(fitted, SettableClock(START), {"BTC": SimulatedFeed(load_rulebook(), seed=7)})
    assert updater.followers["BTC"].model.fit == model.fit == fit


def test_a_note_of_another_forecaster_is_as_none(settings: LoadedSettings) -> None:
    refit_now(settings, {"BTC": FEED}, MIDNIGHT)
    other = settings.with_flags({"live.forecaster": "seasonal-har"})
    assert read_note(settings.values.live.state_dir, f"{FITTED}@calm") is not None  # a preset has the same fit
    assert read_note(settings.values.live.state_dir, "seasonal-har") is None
    assert with_newest_fit(other) is other


@pytest.mark.parametrize(
    "note",
    [
        b"", b"{", b"[]", b"{}", b'{"end": "x", "artifact": "", "forecaster": "mean_move:Fitted"}',
        b'{"end": 1, "artifact": null, "forecaster": "mean_move:Fitted"}', b'{"end": 1, "artifact": ""}',
    ],
)  # fmt: skip
def test_a_damaged_note_is_as_none(note: bytes, settings: LoadedSettings) -> None:
    (settings.values.live.state_dir / NOTE).write_bytes(note)
    assert read_note(settings.values.live.state_dir, FITTED) is None
    assert with_newest_fit(settings) is settings


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"{}")])
def test_a_fit_whose_artifact_is_gone_or_damaged_is_made_again(
    damage: Any, settings: LoadedSettings, stop: Event
) -> None:
    refit_now(settings, {"BTC": FEED}, MIDNIGHT)
    artifact = Path(artifact_in_force(settings))
    damage(artifact)
    read_artifact.cache_clear()  # as in another process
    assert with_newest_fit(settings) is settings
    made = refitter(settings, START)
    made.step(stop)
    assert made.fitted.is_set()
    assert artifact_in_force(settings) == str(artifact)


def test_a_fit_is_made_when_it_is_due_and_once(settings: LoadedSettings, stop: Event) -> None:
    made = refitter(settings, START)
    again = made.step(stop)
    assert made.fitted.is_set()
    assert again == MIDNIGHT + DAY + 5
    first = read_note(settings.values.live.state_dir, FITTED)
    assert first is not None
    assert first["end"] == MIDNIGHT
    made.fitted.clear()
    assert made.step(stop) == again
    assert not made.fitted.is_set()
    made.clock.set(again)  # type: ignore[attr-defined]
    made.step(stop)
    second = read_note(settings.values.live.state_dir, FITTED)
    assert second is not None
    assert (second["end"], second["artifact"] != first["artifact"]) == (MIDNIGHT + DAY, True)


@pytest.mark.usefixtures("here")
def test_a_fit_that_fails_leaves_the_previous_one_in_force(settings: LoadedSettings, stop: Event) -> None:
    refit_now(settings, {"BTC": FEED}, MIDNIGHT)
    before = read_note(settings.values.live.state_dir, FITTED)
    for path in Path(settings.values.data.cache_dir).rglob("*.parquet"):
        path.write_bytes(b"damaged")
    made = refitter(settings, MIDNIGHT + DAY)
    again = made.step(stop)
    assert not made.fitted.is_set()
    assert MIDNIGHT + DAY < again < MIDNIGHT + DAY + 3600
    assert read_note(settings.values.live.state_dir, FITTED) == before


@pytest.mark.usefixtures("here")
def test_too_few_bars_make_no_fit_and_no_noise(settings: LoadedSettings, stop: Event) -> None:
    short = settings.with_flags({"data.cache_dir": str(settings.values.data.cache_dir) + "-short"})
    fill(short, days=3)
    made = refitter(short, START)
    made.step(stop)
    assert read_note(settings.values.live.state_dir, FITTED) == {"forecaster": FITTED, "artifact": "", "end": MIDNIGHT}
    assert with_newest_fit(short) is short


def test_an_error_is_told_no_more_once_settings_are_usable_that_ask_for_no_fit(
    settings: LoadedSettings, stop: Event
) -> None:
    made = refitter(settings.with_flags({"fit.every": "0s"}), START)
    made.error = "settings that could not be read"
    made.step(stop)
    assert made.error == ""


def test_it_ends_when_told_to_and_leaves_a_fit_unfinished(settings: LoadedSettings, stop: Event) -> None:
    thread = Thread(target=refitter(settings, START).run, args=(stop,), daemon=True)
    thread.start()
    assert until(lambda: bool(multiprocessing.active_children()))
    stop.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert read_note(settings.values.live.state_dir, settings.values.live.forecaster) is None


@pytest.mark.ci
@pytest.mark.parametrize("forecaster", ["seasonal-har", FITTED])
def test_answers_before_and_after_a_fit_are_reproduced_from_the_log_and_by_a_backtest(
    tmp_path: Path, forecaster: str
) -> None:
    flags: dict[str, Any] = {**FLAGS, "live__forecaster": forecaster, "fit__folder": str(tmp_path / "fits")}
    with rig(tmp_path, flags=flags) as running:
        given = running.miner.settings
        running.miner.load_settings = lambda: with_newest_fit(given)
        assert running.prober().ask(running.prompt(minutes=2)).accepted
        fill(given)
        refit_now(given, {"BTC": FEED}, MIDNIGHT)
        assert until(lambda: bool(running.miner.app.answerer.settings.values.fit.artifacts))
        assert running.prober().ask(running.prompt(minutes=3)).accepted
        after = Updater.of(with_newest_fit(given), running.clock, {"BTC": running.updater.followers["BTC"].feed})
        after.restore()
        after.update(int(running.clock.now()))
        generation = after.followers["BTC"].generation  # the state of the fitted forecaster
        assert until(lambda: running.miner.answerer.known["BTC"].saved.generation == generation)
        assert running.prober().ask(running.prompt(minutes=4)).accepted
        log_dir = Path(given.values.live.log_dir)
        assert until(lambda: len((log_dir / f"answers-{day_name(START)}.jsonl").read_bytes().splitlines()) == 3)
        after.archive(int(running.clock.now()))
        log = LiveLog.read(log_dir)
        report = check_parity(log, given)
    unfitted, fitted, followed = (log.settings(record["settings"]) for record in log.answers)
    assert unfitted.values.fit.artifacts == ()
    assert fitted.values.fit.artifacts == followed.values.fit.artifacts != ()
    assert len({record["parameters"] for record in log.answers}) == 2
    assert (report.answers, report.identical) == (3, 3)
    assert report.backtest == BacktestParity(3, 0, 0, [])


BROKEN = ["raise ValueError('no')", "return {'factor': float('nan')}", "return {'factor': object()}"]


@pytest.mark.parametrize("body", BROKEN)
def test_a_plug_in_whose_fit_breaks_leaves_the_previous_one_in_force(
    body: str, settings: LoadedSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    refit_now(settings, {"BTC": FEED}, MIDNIGHT)
    before = read_note(settings.values.live.state_dir, FITTED)
    namespace: dict[str, Any] = {}
    exec(f"def fit(self, bars, assets, *, end, prior=None): {body}", namespace)
    monkeypatch.setattr(mean_move.Fitted, "fit", namespace["fit"])
    with pytest.raises((ValueError, ForecasterError)):
        refit_now(settings, {"BTC": FEED}, MIDNIGHT + DAY)
    assert before is not None
    assert read_note(settings.values.live.state_dir, FITTED) == before
