"""The US cash session and Globex: New York hours through summer time, holidays and early closes."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import exchange_calendars
import numpy as np
import pytest

from ewmalab.market import sessions
from ewmalab.market.sessions import closures, in_session
from ewmalab.rulebook import load_rulebook

NEW_YORK = ZoneInfo("America/New_York")


def at(text: str) -> int:
    """Seconds since 1970 of a New York wall clock time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp())


def open_minutes(day: str) -> list[str]:
    """First and last open minute of a New York day, empty if closed."""
    start = at(f"{day}T00:00")
    times = start + 60 * np.arange(24 * 60)
    inside = times[in_session(times)]
    if not inside.size:
        return []
    assert (np.diff(inside) == 60).all()  # one stretch
    return [f"{datetime.fromtimestamp(t, NEW_YORK):%H:%M}" for t in (inside[0].item(), inside[-1].item())]


@pytest.mark.parametrize("day", ["2026-01-15", "2026-07-01", "2025-12-26", "2026-02-13"])
def test_open_from_half_past_nine_to_four(day):
    assert open_minutes(day) == ["09:30", "15:59"]


def test_the_first_second_is_inside_and_the_closing_second_is_not():
    times = [at("2026-01-15T09:29:59"), at("2026-01-15T09:30"), at("2026-01-15T15:59:59"), at("2026-01-15T16:00")]
    assert in_session(times).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    "day",
    [
        "2026-01-17",  # Saturday
        "2026-01-18",  # Sunday
        "2026-01-19",  # Martin Luther King
        "2026-01-01",
        "2026-02-16",  # Washington
        "2026-04-03",  # Good Friday
        "2026-05-25",  # Memorial Day
        "2026-06-19",
        "2026-07-03",  # the 4th is a Saturday
        "2026-09-07",  # Labor Day
        "2025-11-27",  # Thanksgiving
        "2025-12-25",
        "2025-01-09",  # mourning for a president
    ],
)
def test_closed_on_weekends_and_holidays(day):
    assert open_minutes(day) == []


@pytest.mark.parametrize("day", ["2025-11-28", "2025-12-24", "2025-07-03", "2026-11-27"])
def test_closes_at_one_on_early_days(day):
    assert open_minutes(day) == ["09:30", "12:59"]


@pytest.mark.parametrize(
    ("friday", "monday", "utc_before", "utc_after"),
    [
        ("2026-03-06", "2026-03-09", "14:30", "13:30"),  # summer time from 8 March on
        ("2025-10-31", "2025-11-03", "13:30", "14:30"),  # and back on 2 November
    ],
)
def test_sessions_follow_new_york_through_the_change_of_clocks(friday, monday, utc_before, utc_after):
    for day, utc in ((friday, utc_before), (monday, utc_after)):
        assert open_minutes(day) == ["09:30", "15:59"]
        opening = int(datetime.fromisoformat(f"{day}T{utc}+00:00").timestamp())
        assert in_session([opening - 1, opening]).tolist() == [False, True]


def test_weeks_when_only_america_has_changed_its_clocks():
    # between the American and the European change, a European clock finds the session an hour early
    assert in_session([int(datetime.fromisoformat("2026-03-16T13:30+00:00").timestamp())]).all()


def test_a_year_has_the_exchanges_number_of_sessions():
    days = [datetime(2025, 1, 1, 12, tzinfo=NEW_YORK) + timedelta(days=i) for i in range(365)]
    noon = np.array([int(datetime(d.year, d.month, d.day, 12, tzinfo=NEW_YORK).timestamp()) for d in days])
    assert in_session(noon).sum() == 250


def sessions_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    calendar = exchange_calendars.get_calendar(name, start="2020-01-01", end="2032-12-31")
    opens, closes = (times.to_numpy("datetime64[s]").astype(np.int64) for times in (calendar.opens, calendar.closes))
    return opens, closes


def test_every_session_is_as_the_exchanges_calendar_has_it():
    assert sessions._edges().dtype == np.int64
    assert sessions._edges().tolist() == np.column_stack(sessions_of("XNYS")).ravel().tolist()


@pytest.mark.parametrize("name", ["CMES", "us_futures"])
def test_every_globex_session_is_as_its_calendar_has_it_less_the_daily_halt(name):
    opens, closes = sessions_of(name)
    evening = np.array([datetime.fromtimestamp(t, NEW_YORK).hour == 18 for t in closes.tolist()])
    assert sessions._edges(name).tolist() == np.column_stack([opens, closes - 3600 * evening]).ravel().tolist()


def closed(name: str, start: str, end: str) -> list[str]:
    """Closures in New York's time."""
    found = closures(name, at(start), at(end))
    return [f"{datetime.fromtimestamp(t, NEW_YORK):%a %H:%M}" for pair in found for t in pair]


def test_globex_halts_daily_and_closes_from_friday_to_sunday():
    assert closed("us_futures", "2026-01-15T12:00", "2026-01-19T12:00") == [
        *("Thu 17:00", "Thu 18:00"),
        *("Fri 17:00", "Sun 18:00"),
    ]


def test_equity_indices_close_early_on_holidays_and_are_closed_on_christmas():
    assert closed("CMES", "2026-01-19T00:00", "2026-01-20T00:00") == ["Mon 13:00", "Mon 18:00"]
    assert closed("CMES", "2025-12-24T00:00", "2025-12-26T00:00") == ["Wed 13:00", "Thu 18:00"]


@pytest.mark.parametrize("name", sessions.CALENDARS)
def test_a_minute_is_closed_or_inside_a_session(name):
    start, end = at("2026-03-05T00:00"), at("2026-03-12T00:00")  # the clocks change
    times = np.arange(start, end, 60)
    shut = np.zeros(len(times), bool)
    for a, b in closures(name, start, end):
        shut |= (times >= a) & (times < b)
    inside = np.searchsorted(sessions._edges(name), times, side="right") % 2 == 1
    assert (shut == ~inside).all()
    assert 0 < shut.sum() < len(times)


def test_nothing_is_closed_outside_the_calendar():
    assert closures("XNYS", 0, 86_400) == []
    assert closures("XNYS", at("2040-01-01T00:00"), at("2040-02-01T00:00")) == []


def test_the_rulebooks_calendars_are_those_that_there_are():
    assets = [load_rulebook().asset(symbol) for symbol in load_rulebook().symbols]
    assert {name for asset in assets for name in asset.hours.values()} == set(sessions.CALENDARS)
    globex = {asset.symbol for asset in assets if asset.hours.get("hyperliquid") in ("CMES", "us_futures")}
    assert globex == {"XAU", "WTIOIL", "SP500"}
    assert not any(asset.hours for asset in assets if asset.asset_class == "crypto")


def test_shapes_and_empty_input():
    assert in_session([]).shape == (0,)
    assert in_session(np.empty(0, np.int64)).dtype == bool
    assert in_session(np.full((7,), at("2026-01-15T12:00"))).all()


@pytest.mark.parametrize("when", ["2019-12-01T12:00", "2033-02-01T12:00", "1970-01-02T00:00"])
def test_times_outside_the_calendar_are_an_error_and_not_closed(when):
    with pytest.raises(ValueError, match="session calendar covers 2020-01-01 to 2032-12-31"):
        in_session([at("2026-01-15T12:00"), at(when)])


def test_the_calendars_own_first_and_last_days_are_known():
    assert in_session([at("2020-01-02T12:00"), at("2032-12-31T12:00")]).tolist() == [True, True]
