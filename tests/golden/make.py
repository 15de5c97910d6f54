"""Make the golden cases in this folder: ``cd tests && python -m golden.make``.

Everything is computed a second time, in plain Python and numpy from the subnet's rules, and from nothing of the package
that is tested. Inputs are drawn from seeds and not stored; each case keeps one number of them, which tells a change of
numpy's streams from a fault.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from golden.answers import verdict_cases
from golden.ensembles import crps_cases
from golden.fields import leaderboard_cases, prompt_score_cases

Case = dict[str, Any]

FOLDER = Path(__file__).parent
MAKERS: dict[str, Callable[[], list[Case]]] = {
    "crps": crps_cases,
    "prompt_scores": prompt_score_cases,
    "leaderboards": leaderboard_cases,
    "verdicts": verdict_cases,
}


def stored(kind: str) -> list[Case]:
    """Read the cases of one kind."""
    cases: list[Case] = json.loads((FOLDER / f"{kind}.json").read_text())
    return cases


def main() -> None:
    """Write the files, a line per case."""
    for kind, make in MAKERS.items():
        lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in make())
        written = (FOLDER / f"{kind}.json").write_text(f"[\n{lines}\n]\n")
        sys.stdout.write(f"{kind}: {written} bytes\n")


if __name__ == "__main__":
    main()
