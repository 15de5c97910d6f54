"""The figures in the documents still come out of the commands beside them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_predecessors_table_is_reproduced_within_03_percent(
    shared_dir: Path, shared_data: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    command = [sys.executable, "-m", "ewmalab", "data", "import", str(shared_data / "pyth_1m")]
    subprocess.run([*command, "--set", f"data.cache_dir={cache}"], check=True, capture_output=True)
    published = shared_dir / "docs" / "published_results.json"
    script = [sys.executable, str(ROOT / "benchmarks" / "predecessor_table.py"), "--seeds", "1"]
    done = subprocess.run(
        [*script, "--cache", str(cache), "--published", str(published)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
