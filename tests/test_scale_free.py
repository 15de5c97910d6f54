"""The scale-free CRPS is the CRPS of the scaled ensemble."""

from __future__ import annotations

import numpy as np
import pytest

from ewmalab.scoring.crps import crps_ensemble
from ewmalab.scoring.scale_free import change_table, scale_free_crps


def normalised(n: int, seed: int = 0) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).standard_t(4, n).astype(np.float32))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 100, 1000, 4096])
def test_it_equals_the_crps_of_the_scaled_ensemble(n: int) -> None:
    z = normalised(n)
    rng = np.random.default_rng(n)
    volatility = np.exp(rng.uniform(np.log(1e-4), np.log(2e-2), 60))
    observed = np.expm1(rng.standard_t(4, 60) * volatility)
    members = np.expm1(volatility[:, None] * z[None].astype(np.float64))
    expected = crps_ensemble(observed, members)
    assert np.allclose(scale_free_crps(change_table(z), volatility, observed), expected, rtol=1e-9, atol=1e-13)


def test_the_expected_score_of_smaller_ensembles_is_their_mean() -> None:
    z = normalised(4096)
    one, y = np.array([1e-3]), np.array([4e-4])
    rng = np.random.default_rng(1)
    drawn = [
        crps_ensemble(y[0], np.expm1(1e-3 * rng.choice(z, 20, replace=False).astype(np.float64))) for _ in range(20_000)
    ]
    expected = scale_free_crps(change_table(z, members=20), one, y)[0]
    assert abs(np.mean(drawn) - expected) < 4 * np.std(drawn) / np.sqrt(len(drawn))
    assert expected > scale_free_crps(change_table(z), one, y)[0]


def test_a_missing_observation_stays_missing() -> None:
    out = scale_free_crps(change_table(normalised(100)), np.array([1e-3, 1e-3]), np.array([np.nan, 0.0]))
    assert np.isnan(out[0])
    assert out[1] > 0


@pytest.mark.parametrize("members", [101, -1])
def test_impossible_ensemble_sizes_are_refused(members: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 100"):
        change_table(normalised(100), members=members)
