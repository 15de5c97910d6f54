"""Verdicts are the validators', word for word; nothing that JSON can hold makes them fail."""

from __future__ import annotations

import json
import math
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st

from ewmalab.analysis import prediction_files as files
from ewmalab.analysis.prediction_files import read_prediction, read_realised
from ewmalab.errors import PredictionError
from ewmalab.rulebook import load_rulebook
from ewmalab.scoring.validation import CORRECT, validate_response
from ewmalab.times import parse_time

FORMATS = ("digits8_text", "float32_8sig")
START = 1_777_636_860


def verdict(
    response: object, response_format: str, *, points: int = 4, paths: int = 2, process_time: str | float | None = "1.2"
) -> str:
    return validate_response(
        response,
        start_time=START,
        time_increment=60,
        time_length=60 * (points - 1),
        num_simulations=paths,
        response_format=response_format,
        process_time=process_time,
    )


def price_verdict(price: object, response_format: str) -> str:
    return verdict([START, 60, [1.5, price]], response_format, points=2, paths=1)


# ------------------------------------------------------------------------------------------- golden cases


@pytest.fixture(scope="session")
def golden(shared_dir: Path) -> dict[str, Any]:
    cases: dict[str, Any] = json.loads((shared_dir / "golden" / "validator_cases.json").read_text())["validation"]
    return cases


def test_verdicts_are_the_validators_word_for_word(golden: dict[str, Any]) -> None:
    prompt = golden["input"]
    assert len(golden["cases"]) >= 24
    for case in golden["cases"]:
        response = case["response"]
        if case["name"] == "tuple path":  # JSON has no tuples
            response = [*response[:2], tuple(response[2]), *response[3:]]
        assert (
            validate_response(
                response,
                start_time=parse_time(prompt["start_time"]),
                time_increment=prompt["time_increment"],
                time_length=prompt["time_length"],
                num_simulations=prompt["num_simulations"],
                response_format="digits8_text",
                process_time=case["process_time"],
            )
            == case["verdict"]
        ), case["name"]


# --------------------------------------------------------------------------------- what both rules say


GOOD = [START, 60, [95000.12, 95001.0, 95002.5, 95003.25], [95000.12, 94999.0, 94998.5, 94997.25]]
PATH = [1.0, 2.0, 3.0, 4.0]


def test_every_format_of_the_rulebook_is_known() -> None:
    assert {rules.response_format for rules in load_rulebook().eras} == set(FORMATS)
    with pytest.raises(ValueError, match="'digits9'; known are digits8_text, float32_8sig"):
        verdict(GOOD, "digits9")


@pytest.mark.parametrize("response_format", FORMATS)
@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (GOOD, CORRECT),
        (tuple(GOOD), CORRECT),
        (None, "Response is empty"),
        ([], "Response is empty"),
        ((), "Response is empty"),
        ("GOOD", "Response format is incorrect: expected tuple or list, got <class 'str'>"),
        (0, "Response format is incorrect: expected tuple or list, got <class 'int'>"),
        ({}, "Response format is incorrect: expected tuple or list, got <class 'dict'>"),
        ([None], "Start time format is incorrect: expected int, got <class 'NoneType'>"),
        ([START], "Time increment format is incorrect: expected int, got nothing"),
        ([0, None], "Time increment format is incorrect: expected int, got <class 'NoneType'>"),
        ([0, 0], f"Start time timestamp is incorrect: expected {START}, got 0"),
        ([True, 60], f"Start time timestamp is incorrect: expected {START}, got True"),
        ([START, 61], "Time increment is incorrect: expected 60, got 61"),
        ([START, 60], "Number of paths is incorrect: expected 2, got 0"),
        ([START, 60, PATH, {}], "Path format is incorrect: expected list, got <class 'dict'>"),
        ([START, 60, [], PATH], "Number of time points is incorrect: expected 4, got 0"),
        (
            [START, 60, PATH, [1.0, 2.0, [3.0], 4.0]],
            "Price format is incorrect: expected int or float, got <class 'list'>",
        ),
        (
            [START, 60, PATH, [1.0, 2.0, None, "4"]],
            "Price format is incorrect: expected int or float, got <class 'NoneType'>",
        ),
    ],
)
def test_answers_are_judged_in_the_validators_order(response: object, expected: str, response_format: str) -> None:
    assert verdict(response, response_format) == expected


@pytest.mark.parametrize("response_format", FORMATS)
def test_without_an_answer_in_time_nothing_else_counts(response_format: str) -> None:
    expected = "time out or internal server error (process time is None)"
    assert verdict(GOOD, response_format, process_time=None) == expected
    assert verdict(None, response_format, process_time=None) == expected
    assert verdict(GOOD, response_format, process_time=0.0) == CORRECT


def test_the_old_rule_goes_path_by_path_and_the_new_one_looks_at_shapes_first() -> None:
    response = [START, 60, [1.0, 2.0, 3.0, "4"], [1.0]]
    assert verdict(response, FORMATS[0]).startswith("Price format is incorrect")
    assert verdict(response, FORMATS[1]) == "Number of time points is incorrect: expected 4, got 1"


@pytest.mark.parametrize("response_format", FORMATS)
def test_the_first_bad_price_is_named(response_format: str) -> None:
    response = [START, 60, PATH, [1.0, 1.23456789, 2.3456789123, 4.0]]
    assert verdict(response, response_format) == "Price format is incorrect: too many digits 1.23456789"


# --------------------------------------------------------------------------------------------- the new rule


@pytest.mark.parametrize(
    ("price", "message"),
    [
        (0.12345678, None),
        (12345678.0, None),
        (12345678, None),
        (123456780, None),
        (1.2345e20, None),
        (10**20, None),
        (-95001.1, None),
        (0, None),
        (0.0, None),
        (-0.0, None),
        (1, None),
        (1.0, None),
        (999.99999, None),
        (999999.99, None),
        (1e-14, None),
        (1.2345678e-20, None),
        (1e29, None),
        (3.4028234e38, None),
        (1e-45, None),
        (12345678.9, "too many digits 12345678.9"),
        (123456789, "too many digits 123456789"),
        (0.123456789, "too many digits 0.123456789"),
        (100.000001, "too many digits 100.000001"),
        (10**400, f"too many digits {10**400}"),
        (-(10**400), f"too many digits {-(10**400)}"),
        (float("nan"), "non-finite value nan"),
        (float("inf"), "non-finite value inf"),
        (float("-inf"), "non-finite value -inf"),
        (3.5e38, "exceeds float32 range 3.5e+38"),
        (-1e300, "exceeds float32 range -1e+300"),
        (10**50, f"exceeds float32 range {10**50}"),
        (1e-46, "underflows float32 1e-46"),
        (5e-324, "underflows float32 5e-324"),
        (True, "expected int or float, got <class 'bool'>"),
        (False, "expected int or float, got <class 'bool'>"),
        ("1.5", "expected int or float, got <class 'str'>"),
        (None, "expected int or float, got <class 'NoneType'>"),
        ([1.5], "expected int or float, got <class 'list'>"),
        ({}, "expected int or float, got <class 'dict'>"),
    ],
)
def test_prices_under_the_new_rule(price: object, message: str | None) -> None:
    expected = CORRECT if message is None else f"Price format is incorrect: {message}"
    assert price_verdict(price, "float32_8sig") == expected


@pytest.mark.parametrize(
    ("edge", "outward", "message"),
    [((2 - 2**-24) * 2.0**127, math.inf, "exceeds float32 range"), (2.0**-150, 0.0, "underflows float32")],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_range_of_float32_ends_where_rounding_leaves_it(
    edge: float, outward: float, message: str, sign: int
) -> None:
    inside = math.nextafter(edge, 1.0)
    for price in (edge, math.nextafter(edge, outward)):
        assert price_verdict(sign * price, "float32_8sig").startswith(f"Price format is incorrect: {message}")
    assert "too many digits" in price_verdict(sign * inside, "float32_8sig")
    assert struct.unpack("<f", struct.pack("<f", inside))[0] != 0.0


def accepted(price: float) -> bool:
    """The new rule as the subnet states it, for one number."""
    value = float(price)
    if not math.isfinite(value):
        return False
    try:
        (stored,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:
        return False
    return (stored != 0.0 or value == 0.0) and float(f"{value:.7e}") == value


def near(value: float) -> st.SearchStrategy[float]:
    """A number and its neighbours."""
    return st.sampled_from([math.nextafter(value, 0.0), value, math.nextafter(value, math.inf)])


mantissas = st.integers(-(10**8), 10**8)
decimals = st.builds(lambda digits, power: float(f"{digits}e{power}"), mantissas, st.integers(-60, 40))
edges = [1e-14, 1e29, (2 - 2**-24) * 2.0**127, 2.0**-150, 1.0, 10.0, 1e22, 1e23]
numbers = st.one_of(
    decimals, decimals.flatmap(near), st.sampled_from(edges).flatmap(near), st.floats(), st.integers(-(10**30), 10**30)
)


@examples(500)
@given(st.lists(numbers, min_size=1, max_size=20))
@example([1e22, 1e23, 99999999.0, 99999999.5, 1e8])
def test_the_array_pass_decides_like_the_rule_for_one_number(prices: list[float]) -> None:
    result = verdict([START, 60, prices], "float32_8sig", points=len(prices), paths=1)
    bad = [price for price in prices if not accepted(price)]
    if bad:
        assert result.endswith(str(bad[0]))
        assert result.startswith("Price format is incorrect: ")
    else:
        assert result == CORRECT


@given(st.floats(1e-6, 1e7))
def test_eight_digits_pass_both_rules_when_their_text_is_short_enough(price: float) -> None:
    rounded = float(f"{price:.7g}")
    short = len(repr(rounded).replace(".", "")) <= 8
    assert (price_verdict(rounded, "digits8_text") == CORRECT) == short
    assert price_verdict(rounded, "float32_8sig") == CORRECT


# ------------------------------------------------------------------------------------------- hostile input


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**400), 10**400),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from([START, 60, 10**4000, -(10**4000)]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=12,
)
answers = st.one_of(
    json_values,
    st.lists(json_values, max_size=4).map(lambda paths: [START, 60, *paths]),
    st.lists(st.lists(json_values, min_size=4, max_size=4), min_size=2, max_size=2).map(
        lambda paths: [START, 60, *paths]
    ),
)


@pytest.mark.ci
@examples(400)
@given(answers, st.sampled_from(FORMATS))
@example([START, 60, [10**5000] * 4, PATH], "digits8_text")
@example([START, 60, [10**5000] * 4, PATH], "float32_8sig")
@example([10**5000, 60], "float32_8sig")
@example([START, -(10**5000)], "digits8_text")
def test_no_answer_makes_the_verdict_fail(response: object, response_format: str) -> None:
    result = verdict(response, response_format)
    assert isinstance(result, str)
    assert result


@pytest.mark.parametrize("response_format", FORMATS)
def test_deep_nesting_is_a_type_like_any_other(response_format: str) -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert price_verdict(nested, response_format).endswith("<class 'list'>")
    while nested:  # taken apart here, not by the interpreter's recursion
        nested = nested[0]


@pytest.mark.parametrize("response_format", FORMATS)
def test_a_full_answer_is_judged_quickly(response_format: str) -> None:
    rng = np.random.default_rng(0)
    paths = np.round(rng.uniform(2e4, 9e4, size=(1000, 289)), 3).tolist()
    started = time.process_time()  # of this process alone, however busy the machine is
    assert verdict([START, 60, *paths], response_format, points=289, paths=1000) == CORRECT
    assert time.process_time() - started < 20.0  # 0.03 to 0.3 s; a judge that compares all with all takes hours


# --------------------------------------------------------------------------------------------- files


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "prediction.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        {"start_timestamp": START, "asset": "BTC", "time_increment": 60, "time_length": 180, "paths": GOOD[2:]},
        {"simulation_input": {"asset": "BTC"}, "prediction": GOOD},
    ],
)
def test_all_three_shapes_are_read_as_what_a_miner_sends(tmp_path: Path, content: object) -> None:
    response = read_prediction(write(tmp_path, json.dumps(content)))
    assert response == GOOD
    assert verdict(response, "digits8_text") == CORRECT


def test_numbers_stay_as_written(tmp_path: Path) -> None:
    text = "[1, 1.0, [100000000000000000000, 18446744073709551616, 1e20, NaN, true]]"
    start, increment, path = read_prediction(write(tmp_path, text))
    assert [type(value) for value in (start, increment, *path)] == [int, float, int, int, float, float, bool]
    assert path[:3] == [10**20, 2**64, 1e20]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("", "not valid JSON"),
        (b"\xff\xfe\xfd", "not valid JSON"),
        ("9" * 5000, "not valid JSON"),
        ("[" * 200_000, "too deeply"),
        ("3", "holds a number, not a prediction"),
        ("null", "holds null"),
        ("{}", "lacks 'start_timestamp', 'time_increment', 'paths'"),
        ('{"paths": [], "time_increment": 60}', "lacks 'start_timestamp'"),
        ('{"start_timestamp": 0, "time_increment": 60, "paths": {}}', "'paths' must be a list, not an object"),
        ('{"prediction": null}', "'prediction' must be a list, not null"),
    ],
)
def test_files_that_hold_no_prediction_are_refused_by_name(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(PredictionError, match=message) as caught:
        read_prediction(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("read", [read_prediction, read_realised])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PredictionError, match=r"cannot read .*absent\.json: No such file"):
        read(tmp_path / "absent.json")
    with pytest.raises(PredictionError, match="cannot read"):
        read(tmp_path)
    monkeypatch.setattr(files, "MAX_BYTES", 2**20)
    with pytest.raises(PredictionError, match=r"prediction\.json is larger than 1 MiB"):
        read(write(tmp_path, b" " * (2**20 + 1)))


def test_realised_prices_are_floats_with_nan_where_missing(tmp_path: Path) -> None:
    realised = read_realised(write(tmp_path, "[95000, null, 95001.5, NaN]"))
    assert realised.dtype == np.float64
    np.testing.assert_array_equal(realised, [95000.0, np.nan, 95001.5, np.nan])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "holds an object, not a list"),
        ("[]", "holds an empty list"),
        ("[1, true]", "entry 1 is true or false"),
        ('["1"]', "entry 0 is a string"),
        ("[1, [2]]", "entry 1 is a list"),
        ("[0]", "entry 0 is 0.0; prices are positive"),
        ("[1, -2.5]", "entry 1 is -2.5"),
        ("[Infinity]", "entry 0 is inf"),
        ("[1" + "0" * 400 + "]", "entry 0 is inf"),
        ("[1,", "not valid JSON"),
    ],
)
def test_lists_that_hold_anything_but_prices_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(PredictionError, match=message) as caught:
        read_realised(path)
    assert str(path) in str(caught.value)


@examples(200)
@given(st.one_of(st.binary(max_size=40), json_values.map(lambda value: json.dumps(value).encode())))
def test_no_file_content_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = write(tmp_path_factory.getbasetemp(), data)
    for read in (read_prediction, read_realised):
        with suppress(PredictionError):
            read(path)
