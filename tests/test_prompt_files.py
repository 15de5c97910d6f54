"""Real prompts come from a file, exactly as they stand there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ewmalab as ew
from ewmalab.analysis.prompt_files import read_prompts
from ewmalab.errors import ConfigError, PredictionError, RulebookError
from ewmalab.replay.reproduce import reproduce_prompts
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.settings import load_settings
from ewmalab.times import iso, parse_time

BOOK = load_rulebook()
START = parse_time("2026-01-15T00:44")
ROWS = [("BTC", 86_400, START), ("BTC", 3600, START + 240), ("ETH", 3600, START + 3900), ("BTC", 86_400, START + 3900)]


def frame(rows: list[tuple[str, int, int]] = ROWS) -> pd.DataFrame:
    return pd.DataFrame(
        {"asset": [a for a, _, _ in rows], "time_length": [n for _, n, _ in rows], "start_time": [t for *_, t in rows]}
    )


def read(path: Path, **options: Any) -> list[tuple[str, int, int]]:
    items = read_prompts(path, BOOK, RuleChoice(), **options)
    return [(i.prompt.asset, i.prompt.time_length, i.prompt.start_time) for i in items]


ORDERED = sorted(ROWS, key=lambda row: (row[2], row[1]))


@pytest.mark.parametrize("kind", ["csv", "iso", "parquet", "json", "doubled", "competition"])
def test_every_form_gives_the_same_prompts(tmp_path: Path, kind: str) -> None:
    table, path = frame(), tmp_path / f"prompts.{kind if kind in ('parquet', 'json') else 'csv'}"
    if kind == "iso":
        table["start_time"] = table["start_time"].map(iso)
    if kind == "competition":
        table["competition"] = table.pop("time_length").map({86_400: "24h", 3600: "1h"})
    if kind == "parquet":
        table.to_parquet(path)
    elif kind == "json":
        path.write_text(table.to_json(orient="records"))
    else:
        pd.concat([table, table] if kind == "doubled" else [table]).to_csv(path, index=False)
    assert sorted(read(path)) == sorted(ORDERED)
    assert [t for *_, t in read(path)] == [t for *_, t in ORDERED]


def test_only_the_wanted_assets_and_competitions_are_replayed(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    frame().to_csv(path, index=False)
    assert read(path, assets=["ETH"]) == [ROWS[2]]
    assert {length for _, length, _ in read(path, competitions=["24h"])} == {86_400}
    with pytest.raises(PredictionError, match="none of its 4 prompts"):
        read(path, assets=["XAU"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="asset"), "lacks asset; its columns are time_length, start_time"),
        (lambda t: t.drop(columns="time_length"), "lacks time_length or competition"),
        (lambda t: t.assign(start_time=t["start_time"] + 7), "row 1: .*whole minutes"),
        (lambda t: t.assign(start_time=t["start_time"] * 1000), "seconds, not milliseconds"),
        (lambda t: t.assign(start_time="soon"), "start_time"),
        (lambda t: t.assign(asset=None), "row 1 has no asset"),
        (lambda t: t.assign(time_length=7200), "no competition of 7200 s has BTC"),
        (lambda t: t.assign(time_length=1.5), "row 1: .*not a whole number"),
    ],
)
def test_what_is_no_list_of_prompts_is_refused(tmp_path: Path, change: Any, words: str) -> None:
    path = tmp_path / "prompts.csv"
    change(frame()).to_csv(path, index=False)
    with pytest.raises(PredictionError, match=words):
        read(path)


def test_an_unknown_asset_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    frame([("DOGE", 3600, START)]).to_csv(path, index=False)
    with pytest.raises(RulebookError, match="no asset 'DOGE'"):
        read(path)


@pytest.mark.ci
def test_a_backtest_replays_exactly_these_prompts_and_can_be_reproduced(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    frame().to_csv(path, index=False)
    flags = {
        "data.feed": "simulated", "data.cache_dir": str(tmp_path / "cache"), "run.experiments_dir": str(tmp_path / "e"),
    }  # fmt: skip
    settings = load_settings(environ={}, flags=flags)
    options: dict[str, Any] = {"prompts": path, "num_simulations": 50, "settings": settings}
    done = ew.backtest("ewma", **options)
    table = done.results
    assert sorted(zip(table["asset"].to_pylist(), table["start_time"].to_pylist(), strict=True)) == sorted(
        (asset, start) for asset, _, start in ROWS
    )
    (found,) = reproduce_prompts(done, tmp_path / "cache", [("ewma", "1h", "ETH", START + 3900)])
    assert found.start_time == START + 3900
    part = ew.backtest("ewma", start=iso(START), days=1 / 24, **options)
    assert part.results.num_rows == 2
    with pytest.raises(ConfigError, match="no prompt between"):
        ew.backtest("ewma", start="2026-02-01", days=1, **options)
    with pytest.raises(ConfigError, match="neither scored, sent nor field, and no such file"):
        ew.backtest("ewma", **(options | {"prompts": "all"}))
    with pytest.raises(ConfigError, match="a cadence makes prompts of its own"):
        ew.backtest("ewma", cadence="1h", **options)
    swept = ew.sweep({"half_life_1m": ["10m", "1h"]}, competitions="1h", name=None, **options)
    assert sorted(int(cell.prompts) for cell in swept.cells) == [1, 1]


def test_sent_prompts_are_replayed_on_demand(tmp_path: Path) -> None:
    flags = {
        "data.feed": "simulated", "data.cache_dir": str(tmp_path / "cache"), "run.experiments_dir": str(tmp_path / "e"),
    }  # fmt: skip
    settings = load_settings(environ={}, flags=flags)
    options: dict[str, Any] = {
        "start": "2026-01-15", "days": 1 / 24, "rules": "2026-10-05", "assets": "BTC", "competitions": "1h",
        "num_simulations": 20, "settings": settings,
    }  # fmt: skip
    assert ew.backtest("ewma", **options).results.num_rows == 6
    sent = ew.backtest("ewma", prompts="sent", **options)
    assert sent.results.num_rows == 60
    assert sent.manifest["inputs"]["options"]["which"] == "sent"
    assert json.loads((sent.path / "manifest.json").read_text())["inputs"]["options"]["prompts"] is None
