"""Size of an answer of 1000 x 289 prices with and without gzip, and the time that levels of compression take.

python benchmarks/gzip_answers.py
"""

from __future__ import annotations

import time
import zlib

import numpy as np
from machine import describe

from ewmalab.scoring.answer_format import render


def main() -> None:
    """Print a table."""
    shocks = np.random.Generator(np.random.PCG64(1)).standard_t(5, (289, 1000)) * 6e-4
    shocks[0] = 0
    body = render(1_790_000_000, 300, 64_321.5, np.cumsum(shocks, axis=0).astype(np.float32))
    print(describe())
    print(f"as it is: {len(body) / 1e6:.2f} MB")
    for level in (1, 6):
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            gzip = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
            size = len(gzip.compress(body) + gzip.flush())
            seconds.append(time.perf_counter() - began)
        print(f"gzip, level {level}: {size / 1e6:.2f} MB, {1000 * min(seconds):.0f} ms")


if __name__ == "__main__":
    main()
