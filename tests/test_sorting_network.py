"""The CRPS of changes side by side agrees with one row at a time, whatever the number of members and rows."""

from __future__ import annotations

import numpy as np
import pytest

from ewmalab.scoring import sorting_network as network
from ewmalab.scoring.crps import crps_ensemble


@pytest.mark.parametrize("members", [1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 100, 255, 256, 257, 1000, 1024, 1025, 5000])
@pytest.mark.parametrize("rows", [1, 63, 64, 65])
def test_columns_agree_with_rows(members: int, rows: int) -> None:
    rng = np.random.default_rng(members * 1000 + rows)
    log_returns = np.zeros((rows + 1, members), np.float32)
    log_returns[1:] = np.cumsum(rng.standard_normal((rows, members)) * 1e-3, axis=0)
    begin = np.arange(rows)
    observed = rng.standard_normal(rows) * 10
    scale = np.full(rows, 1e4)
    out = np.empty(rows)
    buffer = np.full(network.padded(members) * network.WIDTH, np.nan, np.float32)  # stale content must not matter
    network.crps_of_changes(log_returns, begin, begin + 1, begin, scale, observed, buffer, out)
    changes = 1e4 * np.expm1(log_returns[1:].astype(np.float64) - log_returns[:-1].astype(np.float64))
    assert np.allclose(out, crps_ensemble(observed, changes), rtol=2e-6, atol=4e-6)  # float32 members of size 10


@pytest.mark.parametrize("size", [8, 16, 32, 64, 128, 256, 512, 1024, 2048])
def test_every_column_is_sorted(size: int) -> None:
    rng = np.random.default_rng(size)
    table = rng.standard_normal((size, network.WIDTH)).astype(np.float32)
    table[: size // 3] = np.round(table[: size // 3])  # ties
    flat = table.ravel().copy()
    network._sort(flat, size)
    assert np.array_equal(flat.reshape(size, network.WIDTH), np.sort(table, axis=0))


def test_the_network_sorts_every_pattern_of_zeros_and_ones() -> None:
    """The zero-one principle: a comparator network that sorts all of these sorts everything (16 members, all 65536)."""
    patterns = ((np.arange(1 << 16)[:, None] >> np.arange(16)) & 1).astype(np.float32)
    for first in range(0, len(patterns), network.WIDTH):
        block = patterns[first : first + network.WIDTH].T
        flat = np.ascontiguousarray(block).ravel()
        network._sort(flat, 16)
        assert np.array_equal(flat.reshape(16, network.WIDTH), np.sort(block, axis=0))
