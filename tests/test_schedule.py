"""The schedule lists the prompts that validators would have sent, under the rules of their own time."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewmalab.errors import RulebookError
from ewmalab.replay.data import group_prompts
from ewmalab.replay.schedule import Scheduled, schedule
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.times import parse_time

BOOK = load_rulebook()
DAY = 86_400
FIRST_FOUR = ["BTC", "ETH", "XAU", "SOL"]
EQUITIES = ["SPYX", "NVDAX", "TSLAX", "AAPLX", "GOOGLX"]


def listed(start: str, days: float = 1, rules: str = "as-of", **options: Any) -> list[Scheduled]:
    begin = parse_time(start)
    return schedule(BOOK, RuleChoice.parse(rules), begin, begin + round(days * DAY), **options)


def counts(items: list[Scheduled]) -> dict[tuple[str, str], int]:
    return dict(Counter((item.prompt.competition, item.prompt.asset) for item in items))


def starts(items: list[Scheduled], competition: str, asset: str) -> list[int]:
    return [i.prompt.start_time for i in items if (i.prompt.competition, i.prompt.asset) == (competition, asset)]


# ------------------------------------------------------------------------------------------------ counts


def test_a_week_of_january_has_168_hourly_and_840_twelve_minute_prompts_per_asset() -> None:
    found = counts(listed("2026-01-08", 7))
    assert found == {("24h", a): 168 for a in FIRST_FOUR} | {("1h", a): 840 for a in FIRST_FOUR}


def test_prompts_of_a_day_are_a_cadence_apart() -> None:
    items = listed("2026-01-08T00:07", 0.5)
    for competition, cadence in (("24h", 3600), ("1h", 720)):
        times = starts(items, competition, "BTC")
        assert times[0] >= parse_time("2026-01-08T00:07")
        assert times[0] - parse_time("2026-01-08T00:07") < cadence
        assert all(t % 60 == 0 for t in times)
        assert {b - a for a, b in pairwise(times)} == {cadence}


def test_assets_take_turns_and_prompts_stand_at_all_minutes_of_the_hour() -> None:
    items = listed("2026-01-08", 60, competitions=["24h"], rules="2026-01-08")
    first_day = [starts(items, "24h", asset)[0] for asset in FIRST_FOUR]
    assert len({t % 3600 for t in first_day}) == 4
    assert sorted((b - a) % 3600 for a, b in pairwise(sorted(t % 3600 for t in first_day))) == [900, 900, 900]
    minutes = {t % 3600 // 60 for t in starts(items, "24h", "BTC")}
    assert len(minutes) > 30  # of 60, on 60 days


def test_the_scored_prompts_are_one_of_each_bucket() -> None:
    for start, kept in (("2026-06-10", "first"), ("2026-10-05", "drawn")):
        sent, scored = listed(start, 2, which="sent"), listed(start, 2)
        assert {i.prompt for i in scored} < {i.prompt for i in sent}
        for (name, asset), count in counts(scored).items():
            bucket = 3600 if name.endswith("24h") else 600
            times, chosen = starts(sent, name, asset), starts(scored, name, asset)
            buckets = {t // bucket for t in times}
            assert sorted(t // bucket for t in chosen) == sorted(buckets)
            assert count == len(buckets)
            firsts = [min(t for t in times if t // bucket == b) for b in sorted(buckets)]
            if kept == "first":
                assert chosen == firsts
            elif len(times) > count:
                assert chosen != firsts


def test_which_prompt_is_drawn_depends_on_asset_competition_and_bucket_alone() -> None:
    whole = listed("2026-10-05", 3)
    for options in ({"assets": ["ETH"]}, {"competitions": ["crypto-1h"]}, {"start": "2026-10-06T05:07", "days": 0.3}):
        chosen: dict[str, Any] = {"start": "2026-10-05", "days": 3} | options
        part = {item.prompt for item in listed(**chosen)}
        begin = parse_time(chosen["start"])
        wanted = {
            item.prompt
            for item in whole
            if item.prompt.asset in chosen.get("assets", [item.prompt.asset])
            and item.prompt.competition in chosen.get("competitions", [item.prompt.competition])
            and begin <= item.prompt.start_time < begin + round(chosen["days"] * DAY)
        }
        assert part == wanted
    ranks = [t % 600 // 60 for t in starts(listed("2026-10-05", 20), "crypto-1h", "BTC")]
    assert min(Counter(ranks).values()) > 200  # of 2880 over ten minutes


def test_the_end_is_exclusive_and_the_start_inclusive() -> None:
    begin = parse_time("2026-01-08")
    times = starts(listed("2026-01-08", 2 / 24, competitions=["24h"], cadence=3600), "24h", "BTC")
    assert times == [begin, begin + 3600]


@given(st.integers(0, 3 * 1440), st.lists(st.integers(1, 1440), min_size=1, max_size=4))
def test_two_ranges_that_touch_list_the_prompts_of_their_union(offset: int, lengths: list[int]) -> None:
    begin = parse_time("2026-01-17") + 60 * offset
    edges = [begin]
    for length in lengths:
        edges.append(edges[-1] + 60 * length)
    parts: list[Scheduled] = []
    for a, b in pairwise(edges):
        try:
            parts += schedule(BOOK, RuleChoice(), a, b)
        except RulebookError as error:
            assert "no prompt between" in str(error)  # noqa: PT017 - shorter than the cadence
    try:
        whole = schedule(BOOK, RuleChoice(), edges[0], edges[-1])
    except RulebookError:
        whole = []
    assert sorted(parts, key=lambda s: s.prompt) == whole


# -------------------------------------------------------------------------------------------------- eras


def test_equities_join_on_their_own_day_when_rules_are_as_of() -> None:
    items = listed("2026-01-20", 1, cadence=3600)
    found = counts(items)
    assert {found["24h", a] for a in FIRST_FOUR} == {24}
    assert {found["24h", a] for a in EQUITIES[:2]} == {10}
    assert not any((("1h", a) in found) for a in EQUITIES)
    assert min(starts(items, "24h", "SPYX")) == parse_time("2026-01-20T14:00")


def test_a_date_holds_all_prompts_to_its_rules() -> None:
    found = counts(listed("2026-01-08", 1, "2026-01-28"))
    assert {found["24h", a] for a in FIRST_FOUR + EQUITIES} == {24}
    before = counts(listed("2026-01-28", 1, "2026-01-08"))
    assert not {a for _, a in before} & set(EQUITIES)


def test_competitions_change_names_in_the_middle_of_a_range() -> None:
    items = listed("2026-06-22T12:00", 1.5, assets=["BTC"])
    switch = parse_time("2026-06-23")
    for item in items:
        old = item.prompt.competition in ("24h", "1h")
        assert old == (item.prompt.start_time < switch)
    assert {c for c, _ in counts(items)} == {"24h", "1h", "crypto-24h", "crypto-1h"}


def test_each_prompt_carries_the_scoring_rule_of_its_own_time() -> None:
    items = listed("2026-03-10", 2, competitions=["1h"], assets=["BTC"])
    fixed = parse_time("2026-03-11")
    assert {i.rule.gaps_as_series for i in items if i.prompt.start_time < fixed} == {True}
    assert {i.rule.gaps_as_series for i in items if i.prompt.start_time >= fixed} == {False}
    held = listed("2026-03-10", 2, "2026-01-15", competitions=["1h"], assets=["BTC"])
    assert {i.rule.gaps_as_series for i in held} == {True}
    assert [i.prompt for i in held] == [i.prompt for i in items]


def test_the_latest_rules_have_a_cadence_per_asset() -> None:
    items = listed("2026-01-08", 1, "latest", which="sent")
    found = counts(items)
    rules = BOOK.eras[-1]
    for name, competition in rules.competitions.items():
        for asset in competition.assets:
            assert found.pop((name, asset)) == DAY // competition.cadence[asset]
    assert not found
    # Since July 2026: minutes for BTC and HYPE at an hour, four minutes for BTC and twelve for others at a day.
    totals = counts(items)
    assert (totals["crypto-1h", "BTC"], totals["crypto-1h", "HYPE"], totals["crypto-1h", "ETH"]) == (1440, 1440, 288)
    assert (totals["crypto-24h", "BTC"], totals["crypto-24h", "ETH"]) == (360, 120)


# --------------------------------------------------------------------------------------- selectors, aliases


@pytest.mark.parametrize(
    ("start", "names", "expected"),
    [
        ("2026-01-08", None, {"24h", "1h"}),
        ("2026-01-08", ["24h"], {"24h"}),
        ("2026-01-08", ["low"], {"24h"}),
        ("2026-01-08", ["high"], {"1h"}),
        ("2026-07-10", ["24h"], {"crypto-24h", "com-equ-24h"}),
        ("2026-07-10", ["1h"], {"crypto-1h"}),
        ("2026-07-10", ["com-equ-24h"], {"com-equ-24h"}),
        ("2026-07-10", ["1h", "crypto-1h", "com-equ-24h"], {"crypto-1h", "com-equ-24h"}),
    ],
)
def test_competitions_are_chosen_by_name_or_by_horizon(start: str, names: list[str] | None, expected: set[str]) -> None:
    items = listed(start, 0.1, competitions=names)
    assert {i.prompt.competition for i in items} == expected
    assert len(items) == len({i.prompt for i in items})


def test_an_alias_spans_the_change_of_names() -> None:
    items = listed("2026-06-22", 2, competitions=["24h"], assets=["BTC"])
    assert {i.prompt.competition for i in items} == {"24h", "crypto-24h"}
    assert {i.prompt.time_length for i in items} == {DAY}


def test_assets_are_chosen_in_every_competition() -> None:
    items = listed("2026-01-08", 1, assets=["ETH", "SOL", "ETH"])
    assert counts(items) == {("24h", "ETH"): 24, ("24h", "SOL"): 24, ("1h", "ETH"): 120, ("1h", "SOL"): 120}


def test_an_explicit_cadence_replaces_the_rulebooks() -> None:
    items = listed("2026-01-08", 1, competitions=["24h"], assets=["BTC"], cadence=1800)
    assert counts(items) == {("24h", "BTC"): 48}
    latest = listed("2026-01-08", 1, "latest", cadence=7200)
    assert set(counts(latest).values()) == {12}


# ----------------------------------------------------------------------------------------- the prompt itself


def test_the_rulebook_says_how_long_before_the_start_a_prompt_is_sent() -> None:
    for start, leads in (("2026-01-20", {170}), ("2026-01-25", {110}), ("2026-10-05", {110, 50})):
        items = listed(start, 0.2)
        assert {i.prompt.start_time - i.prompt.request_time for i in items} == leads


@pytest.mark.parametrize("lead", [30, 60, 90, 3600])
def test_the_request_comes_its_lead_before_the_start(lead: int) -> None:
    for item in listed("2026-01-08", 0.2, request_lead=lead):
        assert item.prompt.request_time == item.prompt.start_time - lead


def test_prompts_have_the_grid_of_their_competition() -> None:
    shapes = {
        (i.prompt.competition, i.prompt.time_increment, i.prompt.time_length, i.prompt.num_simulations, i.prompt.steps)
        for i in listed("2026-01-08", 0.2)
    }
    assert shapes == {("24h", 300, DAY, 1000, 288), ("1h", 60, 3600, 1000, 60)}
    assert {i.prompt.num_simulations for i in listed("2026-01-08", 0.2, num_simulations=7)} == {7}


def test_the_grid_runs_from_the_start_to_the_horizon() -> None:
    prompt = listed("2026-01-08", 0.05, competitions=["1h"])[0].prompt
    grid = prompt.grid()
    assert grid[0] == prompt.start_time
    assert grid[-1] == prompt.start_time + 3600
    assert set(grid[1:] - grid[:-1]) == {60}


@pytest.mark.parametrize("rules", ["as-of", "latest", "2026-07-10"])
def test_prompts_come_in_time_order_whatever_the_order_of_the_names(rules: str) -> None:
    items = listed("2026-01-18", 2, rules, assets=["SOL", "BTC"], competitions=["1h", "24h"])
    times = [i.prompt.start_time for i in items]
    assert times == sorted(times)
    again = listed("2026-01-18", 2, rules, assets=["BTC", "SOL"], competitions=["24h", "1h"])
    assert again == items


def test_grouping_keeps_time_order_and_loses_nothing() -> None:
    items = listed("2026-01-18", 2)
    groups = group_prompts(items)
    assert {key: len(group) for key, group in groups.items()} == counts(items)
    for (competition, asset), group in groups.items():
        assert {(i.prompt.competition, i.prompt.asset) for i in group} == {(competition, asset)}
        assert [i.prompt for i in group] == sorted(i.prompt for i in group)


# ------------------------------------------------------------------------------------------------- errors


def test_an_unknown_asset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RulebookError, match=r"no asset 'DOGE'; known: .*BTC"):
        listed("2026-01-08", assets=["BTC", "DOGE"])


def test_an_asset_that_does_not_compete_yet_is_refused_with_a_fix_that_works() -> None:
    with pytest.raises(
        RulebookError, match=r"SPYX: in none of the competitions .*--rules 2026-01-20T14:00:00Z"
    ) as caught:
        listed("2026-01-08", assets=["BTC", "SPYX"])
    assert "BTC:" not in str(caught.value)
    assert listed("2026-01-08", 1, "2026-01-21", assets=["BTC", "SPYX"])


@pytest.mark.parametrize("asset", ["SPCX", "SP500", "WTIOIL", "XRP", "HYPE", *EQUITIES])
def test_the_fix_that_is_proposed_for_an_absent_asset_works(asset: str) -> None:
    with pytest.raises(RulebookError) as caught:
        listed("2026-01-08", assets=[asset])
    words = str(caught.value).replace("(", " ").split()
    proposed = [words[i + 1] for i, word in enumerate(words) if word == "--rules"]
    assert proposed

    def works(rules: str) -> bool:
        try:
            return bool(listed("2026-01-08", 1, rules, assets=[asset]))
        except RulebookError:
            return False

    assert any(works(rules) for rules in proposed)
    assert works(proposed[-1])  # the date on which it joined


def test_an_asset_in_another_competition_than_the_wanted_one_is_refused() -> None:
    with pytest.raises(RulebookError, match="SPYX"):
        listed("2026-01-21", competitions=["1h"], assets=["SPYX"])


def test_an_unknown_competition_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RulebookError, match=r"no competition 'crypto-1h'.*24h, 1h"):
        listed("2026-01-08", competitions=["crypto-1h"])


def test_a_range_without_a_prompt_is_refused() -> None:
    with pytest.raises(RulebookError, match="no prompt between 2026-01-08T00:01:00Z and 2026-01-08T00:03:00Z"):
        listed("2026-01-08T00:01", 2 / 1440, cadence=3600)


def test_before_the_first_competition_the_error_says_when_it_starts() -> None:
    with pytest.raises(RulebookError, match="first ones start on 2025-12-02"):
        listed("2025-11-01")
