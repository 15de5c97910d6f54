"""The packaged rulebook holds what the subnet decided and when, and a broken one is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewmalab.errors import RulebookError
from ewmalab.rulebook import Competition, RuleChoice, Rules, load_rulebook
from ewmalab.rulebook.load import DEFAULT_PATH
from ewmalab.times import LAST, iso, parse_time, span_of

BOOK = load_rulebook()
CRYPTO = ("BTC", "ETH", "SOL", "XRP", "HYPE")
EQUITIES = ("SPYX", "NVDAX", "TSLAX", "AAPLX", "GOOGLX")
DAY = 86_400


def on(text: str) -> Rules:
    return BOOK.at(parse_time(text))


def around(text: str) -> tuple[Rules, Rules]:
    """The rules one second before a time, and at it."""
    when = parse_time(text)
    return BOOK.at(when - 1), BOOK.at(when)


def figures(competition: Competition) -> tuple[int, int, int, int, float]:
    return (
        competition.time_increment,
        competition.time_length,
        competition.num_simulations,
        competition.window // DAY,
        competition.beta,
    )


# ------------------------------------------------------------------------------------------------ times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01", 0),
        ("2026-01-15", 1_768_435_200),
        (" 2026-01-15 ", 1_768_435_200),
        ("2026-01-15T00:00:00Z", 1_768_435_200),
        ("2026-01-15T14:30", 1_768_435_200 + 14 * 3600 + 1800),
        ("2026-01-15T02:00:00+02:00", 1_768_435_200),
    ],
)
def test_times_without_an_offset_are_utc(text: str, expected: int) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "1768435200.5", "2026-01-15T00:00:00.5Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RulebookError):
        parse_time(text)


@given(st.integers(0, LAST - 1))
def test_a_time_survives_being_written_and_read(when: int) -> None:
    assert parse_time(iso(when)) == when


@given(st.one_of(st.integers(-(10**10), -1), st.integers(LAST, 10**11)))
def test_a_time_before_1970_or_after_2099_is_refused(when: int) -> None:
    with pytest.raises(RulebookError, match="from 1970-01-01 to 2099-12-31"):
        parse_time(iso(when))


@pytest.mark.parametrize("days", [0, -1, 3654, 1e9, 1e308, float("inf"), float("nan")])
def test_a_range_of_days_has_limits(days: float) -> None:
    with pytest.raises(RulebookError, match="choose more than 0, and at most 3653"):
        span_of(0, days)
    with pytest.raises(RulebookError, match="ends before 2100"):
        span_of(LAST - 1, 1)


# ----------------------------------------------------------------------------------------- competitions


def test_no_competition_runs_before_the_first_ones() -> None:
    before, at = around("2025-12-02")
    assert not before.competitions
    assert list(at.competitions) == ["24h", "1h"]
    with pytest.raises(RulebookError, match="2025-12-02"):
        before.select()


def test_three_competitions_replace_two_on_2026_06_23() -> None:
    before, at = around("2026-06-23")
    assert list(before.competitions) == ["24h", "1h"]
    assert list(at.competitions) == ["crypto-24h", "crypto-1h", "com-equ-24h"]


@pytest.mark.parametrize(
    ("date", "name", "expected"),
    [
        ("2025-12-02", "24h", (300, 86400, 1000, 10, -0.1)),
        ("2026-06-14", "24h", (300, 86400, 1000, 10, -0.1)),
        ("2026-06-15", "24h", (300, 86400, 1000, 10, -0.4)),
        ("2025-12-10", "1h", (60, 3600, 1000, 1, -0.05)),
        ("2025-12-11", "1h", (60, 3600, 1000, 1, -0.2)),
        ("2025-12-16", "1h", (60, 3600, 1000, 3, -0.2)),
        ("2026-06-22", "1h", (60, 3600, 1000, 5, -0.4)),
        ("2026-01-15", "1h", (60, 3600, 1000, 3, -0.2)),
        ("2026-06-23", "crypto-24h", (300, 86400, 1000, 10, -0.15)),
        ("2026-06-23", "crypto-1h", (60, 3600, 1000, 5, -0.3)),
        ("2026-06-23", "com-equ-24h", (300, 86400, 1000, 10, -0.15)),
    ],
)
def test_competitions_have_the_subnets_figures(
    date: str, name: str, expected: tuple[int, int, int, int, float]
) -> None:
    assert figures(on(date).competitions[name]) == expected


def test_a_path_has_one_step_per_increment() -> None:
    assert [c.steps for c in on("2026-01-15").select()] == [288, 60]


@pytest.mark.parametrize(
    ("boundary", "name", "joined"),
    [
        ("2026-01-20T14:00", "24h", EQUITIES[:2]),
        ("2026-01-27T14:00", "24h", EQUITIES[2:]),
        ("2026-04-10T14:00:00Z", "24h", ("XRP", "HYPE", "WTIOIL")),
        ("2026-04-10T14:00", "1h", ("HYPE",)),
    ],
)
def test_assets_join_at_the_second(boundary: str, name: str, joined: tuple[str, ...]) -> None:
    before, at = around(boundary)
    assert at.competitions[name].assets == before.competitions[name].assets + joined


def test_every_competition_starts_with_its_own_assets() -> None:
    first = on("2025-12-02").competitions
    assert first["24h"].assets == first["1h"].assets == ("BTC", "ETH", "XAU", "SOL")
    newer = on("2026-06-23").competitions
    assert newer["crypto-24h"].assets == newer["crypto-1h"].assets == CRYPTO
    assert set(newer["com-equ-24h"].assets) == {*EQUITIES, "XAU", "WTIOIL", "SPCX"}


def test_sp500_takes_the_place_of_spyx() -> None:
    before, at = (set(rules.competitions["com-equ-24h"].assets) for rules in around("2026-07-23"))
    assert before - at == {"SPYX"}
    assert at - before == {"SP500"}


@pytest.mark.parametrize(
    ("date", "share"),
    [("2025-12-02", 1 / 2), ("2026-06-22", 1 / 2), ("2026-06-23", 1 / 3), ("2026-08-24", 1 / 3), ("2026-08-25", 1 / 4)],
)
def test_competitions_share_equally(date: str, share: float) -> None:
    assert {c.share for c in on(date).competitions.values()} == {share}


@pytest.mark.parametrize(
    ("date", "name", "default", "own"),
    [
        ("2026-01-15", "24h", 3600, {}),
        ("2026-01-15", "1h", 720, {}),
        ("2026-06-03T13:59:59", "24h", 3600, {}),
        ("2026-06-03T14:00", "24h", 2880, {}),
        ("2026-06-17T15:00", "24h", 2160, {}),
        ("2026-06-23", "crypto-24h", 2340, {}),
        ("2026-07-07T12:59:59", "com-equ-24h", 2340, {}),
        ("2026-04-10T13:59:59", "1h", 720, {}),
        ("2026-04-10T14:00", "1h", 600, {}),
        ("2026-06-03", "1h", 900, {}),
        ("2026-07-01", "crypto-1h", 600, {}),
        ("2026-07-07T13:00", "crypto-24h", 720, {"BTC": 240}),
        ("2026-07-07T13:00", "com-equ-24h", 720, {}),
        ("2026-07-07T13:00", "crypto-1h", 300, {}),
        ("2026-07-15T23:59:59", "crypto-1h", 300, {}),
        ("2026-07-16", "crypto-1h", 300, {"BTC": 60, "HYPE": 60}),
        ("2026-07-16", "crypto-24h", 720, {"BTC": 240}),
    ],
)
def test_prompts_are_sent_at_the_cadence_of_the_date(date: str, name: str, default: int, own: dict[str, int]) -> None:
    competition = on(date).competitions[name]
    assert competition.cadence == dict.fromkeys(competition.assets, default) | own


@pytest.mark.parametrize(
    ("date", "kept", "buckets"),
    [
        ("2026-05-21T23:59:59", "all", {86_400: 0, 3600: 0}),
        ("2026-05-22", "first", {86_400: 3600, 3600: 600}),
        ("2026-07-07T12:59:59", "first", {86_400: 3600, 3600: 600}),
        ("2026-07-07T13:00", "drawn", {86_400: 3600, 3600: 600}),
    ],
)
def test_one_prompt_of_a_bucket_is_scored(date: str, kept: str, buckets: dict[int, int]) -> None:
    for competition in on(date).competitions.values():
        assert (competition.kept, competition.bucket) == (kept, buckets[competition.time_length])


# ---------------------------------------------------------------------------------------------- scoring


def test_24h_intervals_are_the_subnets() -> None:
    intervals = on("2026-01-15").competitions["24h"].scoring.intervals
    assert [(i.name, i.seconds, i.kind) for i in intervals] == [
        ("5min", 300, "changes"),
        ("30min", 1800, "changes"),
        ("3hour", 10800, "changes"),
        ("24hour_abs", 86400, "abs"),
    ]


def test_1h_intervals_are_the_subnets() -> None:
    intervals = on("2026-01-15").competitions["1h"].scoring.intervals
    assert [(i.name, i.seconds) for i in intervals if i.kind == "changes"] == [
        ("1min", 60),
        ("2min", 120),
        ("5min", 300),
        ("15min", 900),
        ("30min", 1800),
    ]
    assert [(i.name, i.seconds) for i in intervals if i.kind == "abs"] == [("60min_abs", 3600)]
    assert [(i.name, i.seconds) for i in intervals if i.kind == "gap"] == [
        (f"0_{minutes}min_gaps", minutes * 60) for minutes in range(5, 65, 5)
    ]


def test_gaps_are_series_before_2026_03_11_and_first_changes_since() -> None:
    before, at = (rules.competitions["1h"].scoring for rules in around("2026-03-11"))
    assert (before.name, before.gaps_as_series) == ("1h/gaps-as-series", True)
    assert (at.name, at.gaps_as_series) == ("1h/first-gap", False)
    assert before.intervals == at.intervals


def test_the_volatility_term_joins_crypto_1h_alone_on_2026_09_22() -> None:
    before, at = around("2026-09-22")
    assert before.competitions["crypto-1h"].scoring.name == "1h/first-gap"
    assert not before.competitions["crypto-1h"].scoring.volatility_blocks
    assert at.competitions["crypto-1h"].scoring.name == "1h/first-gap+volatility"
    assert at.competitions["crypto-1h"].scoring.volatility_blocks == (
        (3600, 5.25 / 3),
        (900, 5.25 / 12),
        (300, 5.25 / 36),
    )
    assert {c.scoring.name for c in at.competitions.values() if c.time_length == DAY} == {"24h"}


@pytest.mark.parametrize(
    ("boundary", "before", "at"), [("2026-07-16", "p90_cap", "p95_fill"), ("2026-09-01", "p95_fill", "median10_cap")]
)
def test_the_transformation_changes_at_the_second(boundary: str, before: str, at: str) -> None:
    assert tuple(rules.transformation for rules in around(boundary)) == (before, at)


def test_the_response_format_changes_on_2026_07_16() -> None:
    formats = tuple(rules.response_format for rules in around("2026-07-16"))
    assert formats == ("digits8_text", "float32_8sig")


def test_every_format_rule_is_listed_with_its_time(tmp_path: Path) -> None:
    assert BOOK.response_formats() == {"digits8_text": "until 2026-07-16", "float32_8sig": "since 2026-07-16"}
    path = tmp_path / "again.toml"
    third = '\n[[response_format]]\nfrom = 2026-08-01T12:00:00Z\nvalue = "digits8_text"\n'
    old = '[[response_format]]\nfrom = 2026-07-16\nvalue = "float32_8sig"\n'
    path.write_text(DEFAULT_PATH.read_text().replace(old, old + "until = 2026-08-01T12:00:00Z\n" + third))
    assert load_rulebook(path).response_formats()["float32_8sig"] == "since 2026-07-16 until 2026-08-01T12:00:00Z"


def test_the_emission_factor_is_noted_as_measured_and_later_as_unknown() -> None:
    before, at = around("2026-07-23")
    assert before.emission_factor == at.emission_factor == 0.69
    (measured,), (unknown,) = ([note for note in rules.notes if "emission" in note] for rules in (before, at))
    assert "measured 2026-07-04" in measured
    assert "half of the miners' emission" in measured
    assert "unknown since 2026-07-23" in unknown


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("2025-12-02", {"BTC": 1.0, "ETH": 0.6210893136676585, "XAU": 1.4550630831254674, "SPYX": 1.0}),
        ("2026-01-20T13:59:59", {"SOL": 0.5021491038021751}),
        (
            "2026-01-20T14:00",
            {
                "BTC": 1.0,
                "ETH": 0.6715516528608204,
                "XAU": 2.262003561659039,
                "SOL": 0.5883682889710361,
                "SPYX": 2.9914378891824693,
                "NVDAX": 1.3885444209082594,
                "TSLAX": 1.420016421725336,
                "AAPLX": 1.864976360560554,
                "GOOGLX": 1.4310534797250312,
            },
        ),
        ("2026-04-06T18:18:59", {"ETH": 0.6715516528608204}),
        (
            "2026-04-06T18:19",
            {
                "BTC": 1.0,
                "ETH": 0.7064366394033871,
                "XAU": 1.7370922597118699,
                "SOL": 0.6310037175639559,
                "SPYX": 3.437935601155441,
                "SP500": 3.437935601155441,
                "NVDAX": 1.6028217601617174,
                "TSLAX": 1.6068755936957768,
                "AAPLX": 2.0916380815843123,
                "GOOGLX": 1.6827392777257926,
                "XRP": 0.5658394110809131,
                "HYPE": 0.4784547133706857,
                "WTIOIL": 0.8475062847978935,
                "SPCX": 1.0,
            },
        ),
        ("2026-07-06T23:59:59", {"SPCX": 1.0, "ETH": 0.7064366394033871}),
        ("2026-07-07", {"SPCX": 0.4329342627683478, "ETH": 0.7064366394033871, "unheard-of": 1.0}),
    ],
)
def test_assets_weigh_what_the_subnet_says(date: str, expected: dict[str, float]) -> None:
    rules = on(date)
    assert {asset: rules.weight(asset) for asset in expected} == expected


# ----------------------------------------------------------------------------- reference miner, prompts


def test_the_reference_miner_has_two_maps_and_a_default() -> None:
    old, new = on("2026-01-15"), on("2026-10-01")
    assert [old.sigma_per_hour(a) for a in ("BTC", "XAU", "AAPLX")] == [0.00472, 0.00208, 0.0025]
    assert [new.sigma_per_hour(a) for a in ("BTC", "XAU", "AAPLX")] == [0.00541, 0.00312, 0.00259]
    assert [new.sigma_per_hour(a) for a in ("XRP", "HYPE", "WTIOIL")] == [0.00956, 0.01131, 0.00639]
    assert new.sigma_per_hour("SP500") == 0.00157
    assert old.sigma_per_hour("HYPE") == new.sigma_per_hour("SPCX") == 0.005
    assert tuple(rules.sigma_per_hour("BTC") for rules in around("2026-04-06")) == (0.00472, 0.00541)


LEADS = {
    "2026-01-18": {86_400: 110, 3600: 110},
    "2026-01-19": {86_400: 170, 3600: 170},
    "2026-01-23": {86_400: 110, 3600: 110},
    "2026-07-07T12:59:59": {86_400: 110, 3600: 110},
    "2026-07-07T13:00": {86_400: 110, 3600: 50},
}


def test_miners_learn_lead_stake_and_netuids() -> None:
    leads = {date: {c.time_length: c.request_lead for c in on(date).competitions.values()} for date in LEADS}
    assert leads == LEADS
    assert tuple(rules.min_stake for rules in around("2025-01-23")) == (0, 1_000)
    assert tuple(rules.min_stake for rules in around("2026-06-17")) == (1_000, 65_000)
    assert tuple(rules.stored_as for rules in around("2026-06-08")) == ("float64", "float32")
    assert BOOK.netuids == {"finney": 50, "test": 247}


@pytest.mark.parametrize(
    ("date", "word"),
    [
        ("2025-12-10", "10-12 min"),
        ("2026-01-20", "24h prompts were sent a minute earlier"),
        ("2026-06-10", "15 min"),
        ("2026-06-16", "beta -0.4"),
        ("2026-06-16", "window of 5 days"),
        ("2026-06-18", "65000"),
        ("2026-08-26", "VHFT"),
        ("2026-09-10", "median"),
    ],
)
def test_uncertain_values_in_force_are_noted_once(date: str, word: str) -> None:
    notes = on(date).notes
    assert sum(word in note for note in notes) == 1
    assert len(set(notes)) == len(notes)


# ----------------------------------------------------------------------------------------------- assets


def test_every_prompted_asset_is_known_and_has_a_symbol_at_its_scored_feed() -> None:
    for rules in BOOK.eras:
        for competition in rules.competitions.values():
            assert set(competition.cadence) == set(competition.assets)
            for symbol in competition.assets:
                asset = rules.assets[symbol]
                assert asset.symbol == symbol
                assert asset.scored_feed in asset.symbols


@pytest.mark.parametrize(
    ("date", "symbol", "feed", "name"),
    [
        ("2025-12-16T15:07:59", "XAU", "pyth", "Metal.XAU/USD"),
        ("2025-12-16T15:08", "XAU", "pyth", "Crypto.XAUT/USD"),
        ("2026-07-22T23:59:59", "BTC", "pyth", "Crypto.BTC/USD"),
        ("2026-07-23", "BTC", "binance", "BTCUSDT"),
        ("2026-07-22T23:59:59", "HYPE", "pyth", "Crypto.HYPE/USD"),
        ("2026-07-23", "HYPE", "hyperliquid", "@107"),
        ("2026-07-23", "XAU", "hyperliquid", "xyz:GOLD"),
        ("2026-07-22T23:59:59", "SPYX", "pyth", "Crypto.SPYX/USD"),
        ("2026-07-23", "SP500", "hyperliquid", "xyz:SP500"),
        ("2026-05-01", "WTIOIL", "hyperliquid", "xyz:CL"),
        ("2026-10-01", "WTIOIL", "hyperliquid", "xyz:CL"),
        ("2026-06-23", "SPCX", "pyth", "Pyth.HL.SPCX/USDC"),
        ("2026-07-23", "SPCX", "hyperliquid", "xyz:SPCX"),
    ],
)
def test_scored_prices_come_from_the_feed_of_the_date(date: str, symbol: str, feed: str, name: str) -> None:
    asset = on(date).assets[symbol]
    assert asset.scored_feed == feed
    assert asset.symbols[feed] == name


@pytest.mark.parametrize(("date", "feeds"), [("2026-07-22", {"pyth"}), ("2026-07-23", {"binance", "hyperliquid"})])
def test_pyth_is_left_by_all_at_once(date: str, feeds: set[str]) -> None:
    rules = on(date)
    prompted = {symbol for c in rules.competitions.values() for symbol in c.assets} - {"WTIOIL", "SPCX"}
    assert {rules.assets[symbol].scored_feed for symbol in prompted} == feeds


def test_an_asset_outside_the_competitions_can_still_be_fetched() -> None:
    assert BOOK.asset("SPYX").scored_feed is None
    assert BOOK.asset("SPYX").symbols == {"pyth": "Crypto.SPYX/USD"}


def test_equities_and_indices_alone_follow_the_cash_session() -> None:
    assets = [BOOK.asset(symbol) for symbol in BOOK.symbols]
    assert {a.symbol for a in assets if a.sessions} == {*EQUITIES, "SP500", "SPCX"}
    assert all(a.sessions == (a.asset_class in {"equity", "index"}) for a in assets)


def test_pyth_ids_are_whole_and_unique() -> None:
    assets = [BOOK.asset(symbol) for symbol in BOOK.symbols]
    hermes = [bytes.fromhex(a.hermes_id) for a in assets if a.hermes_id]
    assert len(set(hermes)) == len(hermes) == 12
    assert {len(feed) for feed in hermes} == {32}
    assert {a.symbol: a.lazer_id for a in assets if a.lazer_id} == {
        "BTC": 1,
        "ETH": 2,
        "SOL": 6,
        "XRP": 14,
        "HYPE": 110,
        "XAU": 346,
        "AAPLX": 1792,
        "GOOGLX": 1808,
        "NVDAX": 1833,
        "SPYX": 1843,
        "TSLAX": 1847,
    }


def test_an_unknown_asset_is_answered_with_the_known_ones() -> None:
    with pytest.raises(RulebookError, match=r"'DOGE'.*BTC.*WTIOIL"):
        BOOK.asset("DOGE")


# ------------------------------------------------------------------------------------------------- eras


def test_breakpoints_are_the_dates_of_the_changes() -> None:
    assert [iso(when).removesuffix("T00:00:00Z") for when in BOOK.breakpoints()] == [
        "2025-01-23",
        "2025-12-02",
        "2025-12-11",
        "2025-12-16",
        "2025-12-16T15:08:00Z",
        "2026-01-19",
        "2026-01-20T14:00:00Z",
        "2026-01-23",
        "2026-01-27T14:00:00Z",
        "2026-03-11",
        "2026-04-06",
        "2026-04-06T18:19:00Z",
        "2026-04-10T14:00:00Z",
        "2026-05-22",
        "2026-06-03",
        "2026-06-03T14:00:00Z",
        "2026-06-08",
        "2026-06-15",
        "2026-06-17",
        "2026-06-17T15:00:00Z",
        "2026-06-23",
        "2026-07-01",
        "2026-07-07",
        "2026-07-07T13:00:00Z",
        "2026-07-16",
        "2026-07-23",
        "2026-08-25",
        "2026-09-01",
        "2026-09-22",
    ]


def test_rules_change_at_every_breakpoint_and_nowhere_else() -> None:
    edges = [BOOK.breakpoints()[0] - 10 * DAY, *BOOK.breakpoints(), BOOK.breakpoints()[-1] + 1000 * DAY]
    for start, end in pairwise(edges):
        assert BOOK.at(start) is BOOK.at(end - 1)
    for when in BOOK.breakpoints():
        before, at = BOOK.at(when - 1), BOOK.at(when)
        assert at.on == when
        assert dataclasses.replace(before, on=when) != at


def test_a_rulebook_is_identified_by_its_bytes() -> None:
    assert BOOK.digest == hashlib.sha256(DEFAULT_PATH.read_bytes()).hexdigest()
    assert load_rulebook() is BOOK
    assert load_rulebook(DEFAULT_PATH) is BOOK


def test_rules_travel_to_other_processes() -> None:
    copy = pickle.loads(pickle.dumps(BOOK))
    assert copy == BOOK
    assert copy.eras == BOOK.eras
    assert hash(copy.eras[3]) == hash(BOOK.eras[3])


# -------------------------------------------------------------------------------------------- selection


@pytest.mark.parametrize(
    ("date", "names", "expected"),
    [
        ("2026-01-15", None, ["24h", "1h"]),
        ("2026-01-15", [], ["24h", "1h"]),
        ("2026-01-15", ["low"], ["24h"]),
        ("2026-01-15", ["high"], ["1h"]),
        ("2026-01-15", ["1h", "24h", "low"], ["24h", "1h"]),
        ("2026-10-01", ["24h"], ["crypto-24h", "com-equ-24h"]),
        ("2026-10-01", ["low", "crypto-1h"], ["crypto-24h", "crypto-1h", "com-equ-24h"]),
        ("2026-10-01", ["high"], ["crypto-1h"]),
        ("2026-10-01", ["com-equ-24h"], ["com-equ-24h"]),
        ("2026-10-01", "crypto-1h", ["crypto-1h"]),
    ],
)
def test_competitions_are_selected_by_name_or_horizon(
    date: str, names: list[str] | str | None, expected: list[str]
) -> None:
    assert [c.name for c in on(date).select(names)] == expected


@pytest.mark.parametrize(("date", "name"), [("2026-01-15", "crypto-1h"), ("2026-10-01", "vhft")])
def test_a_competition_that_does_not_run_is_answered_with_those_that_do(date: str, name: str) -> None:
    with pytest.raises(RulebookError) as caught:
        on(date).select([name])
    assert name in str(caught.value)
    assert all(running in str(caught.value) for running in on(date).competitions)


# ---------------------------------------------------------------------------------------- choice of rules


@pytest.mark.parametrize("start", ["2026-01-15", "2026-10-01"])
def test_as_of_follows_the_prompt(start: str) -> None:
    choice = RuleChoice.parse("as-of")
    assert choice.at(BOOK, parse_time(start)) is on(start)
    assert choice.breakpoints(BOOK) == BOOK.breakpoints()


@pytest.mark.parametrize(("text", "date"), [("latest", "2030-01-01"), ("2026-01-15", "2026-01-15")])
@pytest.mark.parametrize("start", ["2025-12-05", "2026-10-01"])
def test_chosen_rules_hold_for_every_prompt(text: str, date: str, start: str) -> None:
    choice = RuleChoice.parse(text)
    assert choice.at(BOOK, parse_time(start)) is on(date)
    assert choice.breakpoints(BOOK) == ()


@pytest.mark.parametrize("text", ["as-of", "latest", "2026-01-15T00:00:00Z"])
def test_a_choice_of_rules_survives_being_written_and_read(text: str) -> None:
    assert str(RuleChoice.parse(text)) == text


@pytest.mark.parametrize("text", ["", "newest", "2026-15-01"])
def test_what_is_no_choice_of_rules_is_refused(text: str) -> None:
    with pytest.raises(RulebookError, match="'as-of', 'latest' or a date"):
        RuleChoice.parse(text)


# -------------------------------------------------------------------------------------- broken rulebooks


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(
            'until = 2026-09-01\nvalue = "p95_fill"',
            'until = 2026-09-02\nvalue = "p95_fill"',
            r"transformation\[2\].*overlaps",
            id="overlap",
        ),
        pytest.param(
            'until = 2026-09-01\nvalue = "p95_fill"',
            'until = 2026-08-31\nvalue = "p95_fill"',
            "transformation.*no entry for 2026-08-31T00:00:00Z to 2026-09-01",
            id="hole",
        ),
        pytest.param(
            '[[response_format]]\nuntil = 2026-07-16\nvalue = "digits8_text"\n',
            "",
            "response_format.*no entry for the time before 2026-07-16",
            id="late-start",
        ),
        pytest.param(
            "from = 2026-07-07\n[weights.values]",
            "from = 2026-03-31\n[weights.values]",
            r"weights\[3\].*order",
            id="unordered",
        ),
        pytest.param(
            "SPCX = 0.4329342627683478", "XRP = 0.4329342627683478", r"weights\[3\].*on XRP", id="asset-twice"
        ),
        pytest.param(
            '{ until = 2026-07-23, names = ["SPYX"] }',
            '{ until = 2026-07-23, names = ["XAU"] }',
            r"com-equ-24h.assets\[1\].*on XAU",
            id="member-twice",
        ),
        pytest.param(
            'horizon = "1h"\nfrom = 2025-12-02\nuntil = 2026-06-23\n',
            'horizon = "1h"\n',
            r"competition\.1h\.from: field required",
            id="no-start",
        ),
        pytest.param(
            'horizon = "1h"\nfrom = 2025-12-02\n',
            'horizon = "1h"\nfrom = 2026-06-23\n',
            "not before its end",
            id="empty-span",
        ),
        pytest.param("until = 2025-01-23\n", 'until = "2025-01-23"\n', "unquoted date", id="quoted-date"),
        pytest.param("XRP = 0.00956", "DOGE = 0.00956", r"sigma\[1\].*no asset 'DOGE'", id="sigma-asset"),
        pytest.param(
            "XRP = 0.00956",
            "XRP = -0.00956",
            r"sigma\[1\]\.values\.XRP = -0\.00956: .*greater than 0",
            id="sigma-negative",
        ),
        pytest.param('names = ["HYPE"]', 'names = ["DOGE"]', "1h.assets.*no asset 'DOGE'", id="member-asset"),
        pytest.param("HYPE = 60 }", "DOGE = 60 }", "sent.*no asset 'DOGE'", id="cadence-asset"),
        pytest.param(
            "HYPE = 60 }",
            "HYPE = 90 }",
            r"horizon\.1h\.sent\[5\]\.assets\.HYPE = 90: .*multiple of 60",
            id="cadence-seconds",
        ),
        pytest.param('value = "1h/first-gap+volatility"', 'value = "2h"', "no scoring rule '2h'", id="rule"),
        pytest.param('value = "1h/first-gap+volatility"', 'value = "24h"', "another horizon", id="rule-horizon"),
        pytest.param(
            "scored = [{ from = 2026-07-23, feed",
            "scored = [{ from = 2026-07-24, feed",
            "SP500 has no scored feed at 2026-07-23",
            id="unscored",
        ),
        pytest.param(
            'symbols = { hyperliquid = "xyz:SP500" }', "symbols = {}", "asset.SP500.*'hyperliquid'", id="symbol"
        ),
        pytest.param(
            "value = -0.3 ", "value = 0.3 ", r"competition\.crypto-1h\.beta\[0\]\.value = 0\.3: .*less", id="beta-sign"
        ),
        pytest.param("value = -0.3 ", "value = nan ", r"beta\[0\]\.value = nan: .*(less than 0|finite)", id="beta-nan"),
        pytest.param("value = -0.3 ", "value = true ", r"beta\[0\]\.value = True: .*valid number", id="beta-type"),
        pytest.param(
            'kept = "first", bucket = 600', 'kept = "first"', r"1h\.scored\[1\].*a bucket belongs", id="no-bucket"
        ),
        pytest.param("beta = [{ value = -0.3 }]", "", r"crypto-1h\.beta: field required", id="missing-key"),
        pytest.param(
            "beta = [{ value = -0.3 }]",
            "beta = [{ value = -0.3 }]\nbeat = 1",
            r"crypto-1h\.beat = 1: unknown key",
            id="unknown-key",
        ),
        pytest.param("[netuids]", "[networks]", "netuids: field required", id="missing-table"),
        pytest.param('share = [{ value = "1/2" }]', 'share = [{ value = "2/3" }]', "more than 1", id="shares-sum"),
        pytest.param('share = [{ value = "1/2" }]', 'share = [{ value = "1/0" }]', "fraction", id="share-text"),
        pytest.param('share = [{ value = "1/2" }]', 'share = [{ value = "3/2" }]', "above 0", id="share-size"),
        pytest.param('["3hour", 10800]', '["3hour", 10801]', "horizon.24h: 3hour", id="interval-length"),
        pytest.param(
            '["3hour", 10800]', '["3hour"]', r"horizon\.24h\.intervals\[2\]\[1\]: field required", id="interval-pair"
        ),
        pytest.param("[900, 0.4375]", "[930, 0.4375]", "volatility", id="volatility-block"),
        pytest.param("[900, 0.4375]", "[900, 0]", r"volatility_blocks\[1\]\[1\] = 0: .*greater", id="block-weight"),
        pytest.param('value = "p95_fill"', 'value = "p95"', r"transformation\[1\]\.value = 'p95'", id="transformation"),
        pytest.param('value = "float32_8sig"', 'value = "free"', r"response_format\[1\]\.value = 'free'", id="format"),
        pytest.param("value = 0.69", "value = 0", r"emission_factor\[0\]\.value = 0: .*greater than 0", id="emission"),
        pytest.param(
            "value = 3 }", "value = 3.0 }", r"window_days\[1\]\.value = 3\.0: .*valid integer", id="not-whole"
        ),
        pytest.param("finney = 50", 'finney = "50"', r"netuids\.finney = '50': .*valid integer", id="quoted-number"),
        pytest.param("sessions = true", "sessions = 1", r"sessions = 1: .*valid boolean", id="number-for-truth"),
        pytest.param('class = "metal"', 'class = ["metal"]', r"asset\.XAU\.class = \['metal'\]", id="list-for-text"),
        pytest.param('share = [{ value = "1/2" }]', "share = [5]", r"share\[0\] = 5: must be a table", id="no-table"),
        pytest.param('aliases = ["1h", "high"]', "aliases = []", r"1h\.aliases = \[\]: .*at least 1", id="no-alias"),
        pytest.param("from = 2026-09-22,", "from = 2026-09-22T00:00:00.5,", "whole seconds", id="half-second"),
        pytest.param('version = "2026.11"', "version 2026", "line 8", id="not-toml"),
    ],
)
def test_a_rulebook_that_contradicts_itself_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = DEFAULT_PATH.read_text()
    assert old in text
    path = tmp_path / "broken.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(RulebookError, match=message) as caught:
        load_rulebook(path)
    assert str(path) in str(caught.value)


def test_every_fault_of_a_rulebook_gets_a_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(
        DEFAULT_PATH.read_text()
        .replace("beta = [{ value = -0.3 }]", "beta = [{ value = 0.3 }]\nbeat = 1")
        .replace("= 50", "= 5.5", 1)
    )
    with pytest.raises(RulebookError) as caught:
        load_rulebook(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"rulebook {path}: ") for line in lines)


def test_a_note_of_a_competition_is_shown_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "noted.toml"
    old = "[competition.crypto-1h]\n"
    path.write_text(DEFAULT_PATH.read_text().replace(old, f'{old}note = "inferred from a message"\n'))
    noted = [rules.on for rules in load_rulebook(path).eras if "inferred from a message" in rules.notes]
    assert noted == [rules.on for rules in BOOK.eras if "crypto-1h" in rules.competitions]


def test_a_rulebook_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulebookError, match="absent"):
        load_rulebook(tmp_path / "absent.toml")


def test_another_rulebook_can_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text(DEFAULT_PATH.read_text().replace('"2026.11"', '"mine"'))
    book = load_rulebook(path)
    assert book.version == "mine"
    assert book != BOOK
    assert book.eras == BOOK.eras


def test_entries_that_change_nothing_make_no_breakpoint(tmp_path: Path) -> None:
    path = tmp_path / "split.toml"
    split = '[[response_format]]\nfrom = 2026-07-16\nuntil = 2026-10-10\nvalue = "float32_8sig"\n\n'
    old = "[[response_format]]\nfrom = 2026-07-16\n"
    path.write_text(DEFAULT_PATH.read_text().replace(old, split + old.replace("2026-07-16", "2026-10-10")))
    assert load_rulebook(path).breakpoints() == BOOK.breakpoints()
