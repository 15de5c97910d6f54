"""The track record: logged answers score as their rebuilt paths do, each prompt once, and what went wrong is said."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest

from ewmalab.errors import StateError
from ewmalab.forecast.load import load_forecaster
from ewmalab.forecast.model import Model
from ewmalab.forecast.protocol import Forecaster, Prompt
from ewmalab.live.audit.answer_log import AnswerLog, LiveLog, read_lines
from ewmalab.live.audit.log_stream import first_answers, summarise
from ewmalab.live.audit.proposals import proposals
from ewmalab.live.audit.track_record import BASELINE, TrackRecord, track_record
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.feeds.simulated import SimulatedFeed
from ewmalab.market.partition import Provenance
from ewmalab.replay.engine import LAST_PRICE_MISSING, NOT_SETTLED
from ewmalab.report.text.track_record import track_text
from ewmalab.rulebook import Asset, load_rulebook
from ewmalab.scoring.crps import score_log_returns
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import DAY, MINUTE, iso, parse_time

BOOK = load_rulebook()
FEED = "simulated-7"
BEGIN = parse_time("2026-01-15T12:00")
END = BEGIN + 2 * DAY
CADENCE = 720
HOLE = BEGIN + 30 * 3600  # the label of the one bar that is missing
WILD = {"ewma.variance_floor": 1e-4}  # 1 % a minute
TWIN = f"{__name__}:twin"


def settings_for(folder: Path, cache: Path, **flags: Any) -> LoadedSettings:
    given = {"data.cache_dir": str(cache), "live.state_dir": str(folder / "state"), "live.log_dir": str(folder / "log"),
             "live.forecaster": "ewma",
             "replay.warmup": "1d"}  # fmt: skip
    return load_settings(environ={}, flags=given | flags)


def twin(asset: Asset, **_: Any) -> Forecaster[Any]:
    """The forecaster ewma under another name."""
    return load_forecaster("ewma", asset, load_settings(environ={}))


@pytest.fixture(scope="module")
def bars() -> Bars:
    made = SimulatedFeed(BOOK, seed=7, gaps=0.0).fetch("BTC", BEGIN - 3 * DAY, END, END)
    keep = made.timestamp != HOLE
    return Bars.from_columns({name: column[keep] for name, column in made.columns().items()})


@pytest.fixture(scope="module")
def cache(bars: Bars, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("score") / "cache"
    Cache(folder).write(FEED, "BTC", bars, [(BEGIN - 3 * DAY, END)], Provenance("test", END, synthetic=True))
    return folder


class Diary:
    """A log of answers, written by hand."""

    def __init__(self, folder: Path, cache: Path, bars: Bars) -> None:
        self.folder, self.cache, self.bars = folder, cache, bars
        self.settings = settings_for(folder, cache)
        self.records: list[dict[str, Any]] = []

    def answer(self, start: int, settings: LoadedSettings | None = None, **changes: Any) -> dict[str, Any]:
        """Log an answer to a 1h prompt."""
        known = self.bars.known_at(start - 60)
        newest, close = int(known.timestamp[-1]), float(known.close[-1])
        record = {
            "start_time": start, "competition": "1h", "asset": "BTC", "request_time": start - 60,
            "time_increment": 60, "time_length": 3600, "num_simulations": 60, "forecaster": "ewma", "seed": 3,
            "feed": FEED, "synthetic": True, "saved_at": newest + MINUTE, "newest": newest, "aged": False,
            "anchor": {"price": close * 1.0003, "at": start - 65.0, "source": "binance"}, "caller": "validator",
            "paths_sha256": "", "received": start - 60.0, "seconds": {"total": 1.5},
        }  # fmt: skip
        record["settings"] = AnswerLog(self.folder / "log", False).record_settings(settings or self.settings)
        self.records.append(record | changes)
        return self.records[-1]

    def answers(self, starts: Iterable[int], **changes: Any) -> None:
        for start in starts:
            self.answer(start, **changes)

    def save(self) -> None:
        lines = b"".join(orjson.dumps(r, option=orjson.OPT_APPEND_NEWLINE) for r in self.records)
        (self.folder / "log" / "answers-2026-01-15.jsonl").write_bytes(lines)

    def score(self, **options: Any) -> TrackRecord:
        self.save()
        return track_record(LiveLog.read(self.folder / "log"), self.settings, **({"now": END} | options))

    def expected(self, record: dict[str, Any], name: str, settings: LoadedSettings | None = None) -> float:
        """The CRPS of an answer, straight from the bars."""
        model = Model.of(name, BOOK.asset("BTC"), settings or self.settings)
        prompt = Prompt(**{key: record[key] for key in Prompt.__dataclass_fields__})
        state = model.state_of(self.bars.between(BEGIN - 3 * DAY, record["newest"] + MINUTE))
        anchor = record["anchor"]["price"]
        paths = model.forecaster.simulate(state, prompt, prompt.stream(record["seed"]))
        rule = BOOK.at(prompt.start_time).competitions["1h"].scoring
        truth = self.bars.closes_at(prompt.grid())
        return score_log_returns(paths, anchor, truth, rule, 60).total

    def command(self, *options: str) -> list[str]:
        self.save()
        return ["live", "score", "--log-dir", str(self.folder / "log"), "--state-dir", str(self.folder / "state"),
                "--set", f"data.cache_dir={json.dumps(str(self.cache))}", *options]  # fmt: skip


@pytest.fixture
def diary(tmp_path: Path, cache: Path, bars: Bars) -> Diary:
    return Diary(tmp_path, cache, bars)


def steadily(count: int, begin: int = BEGIN) -> range:
    return range(begin, begin + count * CADENCE, CADENCE)


def kinds(record: TrackRecord) -> list[str]:
    return [alarm.kind for alarm in record.alarms]


# --------------------------------------------------------------------------------------------- scores


def test_scores_are_those_of_the_rebuilt_paths_against_realised_bars(diary):
    diary.answers(steadily(12))
    found = diary.score()
    assert (found.answered, found.settled, found.waiting) == (12, 12, {})
    for name in ("ewma", BASELINE):
        assert found.scores[name]["crps"].tolist() == [diary.expected(r, name) for r in diary.records]
    assert list(found.scores) == ["ewma", BASELINE]
    assert found.scores["ewma"].index.get_level_values("start_time").tolist() == list(steadily(12))


def test_every_answer_counts_with_the_settings_recorded_with_it(diary):
    wild = settings_for(diary.folder, diary.cache, **WILD)
    calm, other = diary.answer(BEGIN), diary.answer(BEGIN + CADENCE, wild)
    crps = diary.score().scores["ewma"]["crps"].tolist()
    assert crps == [diary.expected(calm, "ewma"), diary.expected(other, "ewma", wild)]
    assert crps[1] != diary.expected(other, "ewma")


def test_every_answer_counts_as_the_forecaster_that_gave_it(diary):
    diary.answer(BEGIN, forecaster=BASELINE)
    diary.answer(BEGIN + CADENCE)
    found = diary.score()
    own, baseline = (found.scores[name]["crps"].to_numpy() for name in ("ewma", BASELINE))
    assert own[0] == baseline[0]
    assert own[1] != baseline[1]


def test_the_running_mean_is_that_of_all_scores_so_far(diary):
    diary.answers(steadily(5))
    found = diary.score()
    crps = found.scores["ewma"]["crps"].to_numpy()
    np.testing.assert_allclose(found.running()["ewma"].to_numpy(), np.cumsum(crps) / np.arange(1, 6), rtol=1e-12)


def test_prompts_that_cannot_be_scored_are_counted_with_their_reason(diary):
    diary.answers([BEGIN, BEGIN + CADENCE, HOLE - 3600, END - 1800, END - 900])
    found = diary.score()
    assert (found.answered, found.settled) == (5, 2)
    assert found.waiting == {LAST_PRICE_MISSING: 1, NOT_SETTLED: 2}
    text = track_text(found)
    assert "5 prompts answered, 2 of them scored" in text
    assert f"2 not scored: {NOT_SETTLED}" in text
    assert f"1 not scored: {LAST_PRICE_MISSING}" in text


def test_no_price_counts_before_it_is_known(diary):
    diary.answers([BEGIN])
    assert diary.score(now=BEGIN + 3600 + MINUTE).waiting == {NOT_SETTLED: 1}
    assert diary.score(now=BEGIN + 3600 + 2 * MINUTE).settled == 1


def test_a_log_without_a_settled_prompt_is_reported_all_the_same(diary):
    diary.answers([END - 1800])
    found = diary.score()
    assert (found.settled, found.rows, found.alarms) == (0, [], [])
    assert "SYNTHETIC DATA" in track_text(found)


def test_a_shadow_equal_to_the_answering_forecaster_scores_identically(diary):
    diary.answers(steadily(10))
    found = diary.score(shadows=[TWIN, "ewma@seed"])
    assert list(found.scores) == ["ewma", BASELINE, TWIN, "ewma@seed"]
    assert found.scores[TWIN]["crps"].tolist() == found.scores["ewma"]["crps"].tolist()
    for name in (TWIN, "ewma@seed"):
        assert found.scores[name]["crps"].tolist() == [diary.expected(r, name) for r in diary.records]


def test_one_prompt_of_several_validators_counts_once_as_first_answered(diary):
    diary.answers(steadily(6))
    for start in steadily(6):  # written first, received later
        price = float(diary.bars.close[0])
        again = diary.answer(start, caller="another", received=start - 55.0, shared=True)
        again["anchor"] = again["anchor"] | {"price": price}
    diary.records = diary.records[6:] + diary.records[:6]
    found = diary.score()
    assert (found.answered, found.settled) == (6, 6)
    assert found.scores["ewma"]["crps"].tolist() == [diary.expected(r, "ewma") for r in diary.records[6:]]


def test_only_prompts_of_the_days_asked_for_count(diary):
    diary.answers([*steadily(3), *steadily(4, BEGIN + DAY)])
    assert diary.score(days=0.5).answered == 4
    assert diary.score(days=2.0).answered == 7


# --------------------------------------------------------------------------------------------- alarms


@pytest.mark.ci
def test_a_good_record_raises_no_alarm(diary):
    diary.answers(steadily(70))
    assert diary.score().alarms == []


def test_prompts_that_were_missed_are_counted(diary):
    starts = list(steadily(20))
    diary.answers(starts[:8] + starts[13:])
    (alarm,) = diary.score().alarms
    assert alarm.kind == "missed"
    assert "about 5 prompts" in alarm.text
    assert "2026-01-15T13:24:00Z" in alarm.text  # the last before the gap


def test_late_answers_are_counted_whoever_asked(diary):
    diary.answers(steadily(4))
    diary.answer(BEGIN, caller="another", received=BEGIN - 50.0, seconds={"total": 12.34})
    diary.answer(BEGIN, caller="a third", received=BEGIN - 50.0, seconds={"total": 10.0})
    (alarm,) = diary.score().alarms
    assert (alarm.kind, "1 answers" in alarm.text, "12.3 s" in alarm.text) == ("late", True, True)


def test_late_answers_before_the_days_asked_for_are_no_alarm(diary):
    diary.answer(BEGIN, seconds={"total": 15.0})
    diary.answers(steadily(4, BEGIN + DAY))
    assert "late" in kinds(diary.score(days=2.0))
    assert "late" not in kinds(diary.score(days=0.5))


@pytest.mark.parametrize("drifts", [True, False])
def test_scores_much_worse_of_late_than_before_are_a_drift(diary, drifts):
    wild = settings_for(diary.folder, diary.cache, **WILD)
    diary.answers(steadily(10))
    for start in steadily(10, BEGIN + 26 * 3600):
        diary.answer(start, wild if drifts else None)
    found = [alarm for alarm in diary.score().alarms if alarm.kind == "drift"]
    assert len(found) == drifts
    assert all("1h BTC" in alarm.text for alarm in found)


@pytest.mark.ci
def test_a_forecaster_worse_than_the_baseline_is_an_alarm_and_a_wild_shadow_is_none(diary):
    wild = settings_for(diary.folder, diary.cache, **WILD)
    diary.answers(steadily(70), settings=wild)
    found = diary.score()
    assert kinds(found) == ["worse"]
    row = found.rows[0]
    assert (found.plain()["baseline"], row.forecaster, row.prompts) == (BASELINE, "ewma", 70)
    assert f"{100 * row.change:.1f} %" in found.alarms[0].text
    for record in diary.records:
        record["forecaster"] = BASELINE
    assert diary.score(shadows=["ewma"]).alarms == []


# --------------------------------------------------------------------------------------------- the command


def test_the_command_says_that_prices_are_simulated_and_that_nothing_is_wrong(ewmalab, diary):
    diary.answers(steadily(10))
    result = ewmalab(*diary.command("--fail-on-alarm"))
    assert result.code == 0
    assert "10 prompts answered, 10 of them scored" in result.out
    assert "SYNTHETIC" in result.out
    assert "no alarm" in result.out


def test_the_command_tells_machines_the_same(ewmalab, diary):
    diary.answers([*steadily(10), END - 1800])
    found = json.loads(ewmalab(*diary.command("--json", "--shadow", TWIN)).out)
    assert (found["synthetic"], found["answered"], found["settled"]) == (True, 11, 10)
    assert found["waiting"] == {NOT_SETTLED: 1}
    assert {row["forecaster"] for row in found["rows"]} == {"ewma", TWIN}
    assert found["running"]["start_time"] == list(steadily(10))
    assert found["running"]["ewma"] == found["running"][TWIN]
    assert [alarm["kind"] for alarm in found["alarms"]] == ["missed"]


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_the_command_fails_on_an_alarm_if_asked_to(ewmalab, diary, json_too):
    diary.answers(steadily(3), seconds={"total": 11.0})
    assert ewmalab(*diary.command(*json_too)).code == 0
    result = ewmalab(*diary.command("--fail-on-alarm", *json_too))
    assert result.code == 1
    assert "3 answers took more than 10 s" in result.out


def test_a_folder_without_a_log_is_an_error_that_says_so(diary):
    with pytest.raises(StateError, match="no answers logged here"):
        LiveLog.read(diary.folder / "log")


# ------------------------------------------------------------------------------------------------ long logs


@pytest.mark.ci
def test_log_in_many_files_gives_the_same_record_as_one(diary):
    diary.answers(steadily(40), caller="one")
    diary.answers(steadily(40), caller="another", received=float(BEGIN + 90 * DAY), seed=4)  # answers that do not count
    whole = diary.score()
    folder = diary.folder / "log"
    (folder / "answers-2026-01-15.jsonl").unlink()
    for i in range(4):  # the third file begins with prompts that the second has as well
        part = diary.records[max(0, 10 * i - 3 * (i == 2)) : 10 * i + 10] + diary.records[40 + 10 * i : 50 + 10 * i]
        lines = b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in part)
        (folder / f"answers-2026-01-1{5 + i}.jsonl").write_bytes(lines)
    parts = track_record(LiveLog.read(folder, answers=False), diary.settings, now=END)
    assert parts.answered == whole.answered == 40
    for name, frame in whole.scores.items():
        pd.testing.assert_frame_equal(frame, parts.scores[name])
    assert (parts.rows, parts.alarms, parts.waiting) == (whole.rows, whole.alarms, whole.waiting)


def many_answers(diary: Diary, files: int) -> Path:
    """A log of days that are as busy as each other: four hundred answers to ten prompts each."""
    record = diary.answer(BEGIN) | {"body_sha256": "0" * 64, "state_sha256": "1" * 64}
    folder = diary.folder / f"log-{files}"
    folder.mkdir()
    for day in range(files):
        starts = [BEGIN + day * DAY + 60 * (i % 10) for i in range(400)]
        lines = (orjson.dumps(record | {"start_time": start}, option=orjson.OPT_APPEND_NEWLINE) for start in starts)
        (folder / f"answers-{iso(BEGIN + day * DAY)[:10]}.jsonl").write_bytes(b"".join(lines))
    return folder


def test_memory_does_not_grow_with_the_length_of_the_log(diary):
    peaks = []
    for files in (2, 12):
        folder = many_answers(diary, files)
        tracemalloc.start()
        summary = summarise(folder, None)
        assert sum(map(len, first_answers(folder))) == summary.answered == 10 * files
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_next_file_is_read_only_after_the_one_before_was_used(diary, monkeypatch):
    folder, read = many_answers(diary, 3), []

    def noted(path: Path) -> Any:
        read.append(path.name)
        return read_lines(path)

    monkeypatch.setattr("ewmalab.live.audit.log_stream.read_lines", noted)
    for count, records in enumerate(first_answers(folder), 1):
        assert len(records) == 10
        assert len(read) == count


# --------------------------------------------------------------------------------------------- proposals


def scored(shift: float, days: float, assets: Sequence[str] = ("BTC", "ETH")) -> pd.DataFrame:
    """CRPS of prompts every four hours, moved by `shift` from what the serving forecaster has."""
    rng, count = np.random.default_rng(5), int(days * 6) + 1
    frames = []
    for asset in assets:
        own, noise = rng.gamma(9.0, 1.0, count), rng.normal(0.0, 0.1, count)
        starts = [BEGIN + 4 * 3600 * i for i in range(count)]
        frames.append(
            pd.DataFrame({"asset": asset, "start_time": starts, "crps": own + (noise + shift if shift else 0)})
        )
    table = pd.concat(frames).assign(competition="1h", rule="1h")
    return table.set_index(["competition", "asset", "start_time"])


def test_a_shadow_that_is_better_for_long_enough_is_proposed_with_the_command():
    (text,) = proposals({"ewma": scored(0, 8), "mine": scored(-1.0, 8)}, "ewma", ["mine"])
    assert text.endswith("ewmalab live --forecaster mine")
    assert "mine has beaten ewma over 7 days" in text


@pytest.mark.parametrize(("shift", "days"), [(-1.0, 6.5), (1.0, 8), (1e-9, 8)])
def test_a_shadow_that_is_better_for_too_short_or_not_at_all_is_not_proposed(shift, days):
    assert proposals({"ewma": scored(0, days), "mine": scored(shift, days)}, "ewma", ["mine"]) == []


def test_a_shadow_that_is_worse_on_one_asset_is_not_proposed():
    mixed = pd.concat([scored(-3.0, 8).loc[["1h"]].query("asset == 'BTC'"), scored(1.0, 8).query("asset == 'ETH'")])
    assert proposals({"ewma": scored(0, 8), "mine": mixed}, "ewma", ["mine"]) == []
