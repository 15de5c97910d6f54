"""Serve twenty kinds of wrong bars to a live updater, and answer prompts all the while.

    python benchmarks/live_bad_bars.py

The bars are synthetic, and so is time. Each kind is planted three times into two hours of an updater (a frozen feed
once), with the true spot price at hand and without; a prompt of each horizon is answered every minute. ``--open`` lets
every bar through that the feed's reader accepts, for comparison.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from live_faults import live_through, served
from planted import KINDS
from test_live_updater import BEGIN, Bench

from ewmalab.live.updater.gate import Gate
from ewmalab.report.text.tables import plain_table


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--open", action="store_true")
    args = parser.parse_args()
    logging.disable(logging.ERROR)
    table = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        if args.open:
            patch.setattr(Gate, "admit", lambda self, known, fresh, now: fresh)
        for kind in args.kinds:
            cells = []
            for spot in (True, False):
                with tempfile.TemporaryDirectory() as folder, Bench(Path(folder), patch, ("BTC",), BEGIN + 2) as bench:
                    bench.start().at(BEGIN + 2)
                    done = live_through(bench, served(kind, args.count, args.minutes), args.minutes, spot=spot)
                cells += [f"{done.answered}/{done.asked}", f"{100 * done.worst_anchor:.2f} %", str(done.longest)]
            table.append((kind, str(done.wrong), str(done.taken), *cells))
            print(*table[-1], file=sys.stderr, flush=True)
    ways = [f"{name}, {way}" for way in ("spot", "no spot") for name in ("answered", "worst anchor", "minutes off")]
    print(plain_table(("kind", "wrong rows", "in the state", *ways), table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
