"""The wire format: every price passes the format rules of all dates, or is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import numpy.typing as npt
import pytest
from examples import some
from hypothesis import example, given
from hypothesis import strategies as st

from ewmalab.errors import FormatError
from ewmalab.scoring.answer_format import _render, render
from ewmalab.scoring.validation import validate_response

FORMATS = ("digits8_text", "float32_8sig")


def render_prices(start_time: int, time_increment: int, prices: npt.NDArray[np.float64]) -> bytes:
    """The answer for prices (n, steps + 1) in float64, which no rounding to log-returns has touched."""
    return _render(start_time, time_increment, 1.0, prices.T)


def until_2026_07_16(price: float) -> bool:
    """The old rule as the subnet's documentation words it, independent of the package."""
    return len(str(price).replace(".", "")) <= 8


def since_2026_07_16(price: float) -> bool:
    """The new rule, likewise."""
    single = np.float32(price)
    return math.isfinite(price) and float(f"{price:.7e}") == price and math.isfinite(single) and single != 0


def parsed(prices: list[float]) -> list[float]:
    return json.loads(render_prices(0, 60, np.array([prices])))[2]


def tolerance(price: float) -> float:
    """Half a unit of the last digit that both rules leave room for."""
    if price < 1e-4:
        return 0.5 * 10.0 ** (math.floor(math.log10(price)) - 3)
    if price < 1:
        return 0.5e-7
    return 0.5 * 10.0 ** (math.floor(math.log10(price)) - 7)


@given(st.floats(1e-6, 99_999_999.4, exclude_max=True))
@example(1e-6)
@example(9.9996e-6)
@example(9.99996e-5)
@example(1e-4)
@example(0.61234567)
@example(0.99999999)
@example(9.99999999)
@example(9_999_999.99)
@example(99_999_999.4)
@example(1_234_567.0)
def test_any_price_passes_both_rules_and_is_rounded_to_nearest(price: float) -> None:
    (sent,) = parsed([price])
    assert until_2026_07_16(sent), sent
    assert since_2026_07_16(sent), sent
    assert abs(sent - price) <= tolerance(price) * (1 + 1e-6)


def test_many_prices_over_all_magnitudes_pass_both_rules() -> None:
    rng = np.random.default_rng(5)
    prices = np.exp(rng.uniform(math.log(1e-6), math.log(9.99e7), 200_000))
    sent = parsed(list(prices))
    assert all(until_2026_07_16(x) and since_2026_07_16(x) for x in sent)


@given(st.floats(1.0, 9e6), st.integers(0, 2**32 - 1))
def test_the_fast_way_and_the_general_way_write_the_same(price: float, seed: int) -> None:
    path = price * np.exp(np.random.default_rng(seed).standard_normal(50) * 0.02)
    alone = [parsed([x])[0] for x in path]
    # A price of another magnitude in the path forces the general way.
    assert parsed([*path, 5e-5])[:-1] == alone
    assert parsed(list(path)) == alone


@pytest.mark.parametrize("price", [1e8, 99_999_999.5, 3e9, 9.99e-7, 0.0, -1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("neighbours", [[], [95_000.0, 95_001.0], [0.5]])
def test_a_price_without_a_valid_form_is_refused(price: float, neighbours: list[float]) -> None:
    with pytest.raises(FormatError, match="validators accept prices from"):
        render_prices(0, 60, np.array([[*neighbours, price, *neighbours]]))


@pytest.mark.parametrize("anchor", [2e-6, 3.3e-5, 0.0123, 0.61, 9.99, 142.5, 3300.0, 95_000.0, 999_999.0, 4.2e7])
@pytest.mark.parametrize("shape", some([(289, 1000), (61, 1000), (2, 1), (7, 13)], (61, 1000), (2, 1), (7, 13)))
def test_a_rendered_answer_is_correct_to_both_validators(anchor: float, shape: tuple[int, int]) -> None:
    steps, n = shape[0] - 1, shape[1]
    rng = np.random.default_rng(1)
    paths = np.zeros(shape, np.float32)
    paths[1:] = np.cumsum(rng.standard_normal((steps, n)) * 1e-3, axis=0)
    answer = json.loads(render(1_768_435_200, 300, anchor, paths))
    for response_format in FORMATS:
        verdict = validate_response(
            answer,
            start_time=1_768_435_200,
            time_increment=300,
            time_length=300 * steps,
            num_simulations=n,
            response_format=response_format,
            process_time="1.0",
        )
        assert verdict == "CORRECT"
    prices = anchor * np.exp(paths.T.astype(np.float64))
    assert np.allclose(
        np.array(answer[2:]), prices, rtol=6e-8 if anchor > 2 else 6e-4, atol=6e-8 if anchor > 1e-3 else 0
    )


def test_rounding_moves_a_score_by_less_than_its_own_noise() -> None:
    from ewmalab.rulebook import load_rulebook
    from ewmalab.scoring.crps import score_paths
    from ewmalab.times import parse_time

    rng = np.random.default_rng(2)
    competition = load_rulebook().at(parse_time("2026-05-01")).select(["1h"])[0]
    paths = 95_000 * np.exp(np.concatenate([np.zeros((1000, 1)), rng.standard_normal((1000, 60)).cumsum(1) * 5e-4], 1))
    real = 95_000 * np.exp(rng.standard_normal(61).cumsum() * 5e-4)
    sent = np.array(json.loads(render_prices(0, 60, paths))[2:])
    exact = score_paths(paths, real, competition.scoring, 60).total
    assert abs(score_paths(sent, real, competition.scoring, 60).total / exact - 1) < 6e-6


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(FormatError, match="table"):
        render_prices(0, 60, np.empty((0, 5)))
