"""How soon pages open: size, first paint, first figure, and the processor time that both cost.

python benchmarks/pages.py [PAGE.html ...] [--repeats 3]

Opens each page, and one of 20 000 synthetic prompts of two forecasters, in a fresh headless Chromium (it and
chromedriver must be on the path), scrolled to its first figure. Milliseconds are medians; "thread" is processor time of
the page's main thread, which a busy machine does not lengthen.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from machine import describe

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from test_report import NOW, browser_of, inputs_like, many_prompts

from ewmalab.analysis.review import review_backtest
from ewmalab.experiments.store import save_experiment
from ewmalab.report.pages.backtest import backtest_report
from ewmalab.report.pages.render import write_reports

MARKS = {
    "paint": "performance.getEntriesByName('first-contentful-paint')[0].startTime",
    "load": "performance.getEntriesByType('navigation')[0].loadEventEnd",
    "library": "performance.getEntriesByName('library')[0].startTime",
    "figure": "performance.getEntriesByName('figure')[0].startTime",
    "drawn": "document.querySelectorAll('.js-plotly-plot').length",
}


def large_page(folder: Path) -> Path:
    """Return the page of 20 000 prompts."""
    inputs, notes = inputs_like(["ewma", "random-walk"]), {"sources": [], "layers": []}
    parts: dict[str, Any] = {"inputs": inputs, "notes": notes, "results": many_prompts(), "summary": [], "text": ""}
    made, began = save_experiment(folder, "large", now=NOW, **parts), time.process_time()
    page = write_reports([backtest_report(review_backtest(made, "nowhere"))], folder / "page")
    print(f"20 000 prompts: made in {time.process_time() - began:.1f} s of processor time")
    return page


def opened(page: Path) -> dict[str, float]:
    """Open a page in a fresh browser; return its marks in milliseconds, and what its main thread took until then."""
    browser = browser_of()
    try:
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        browser.get(page.as_uri())
        browser.execute_script("document.querySelector('figure').scrollIntoView()")
        deadline = time.monotonic() + 60
        while not browser.execute_script(f"return {MARKS['drawn']}") and time.monotonic() < deadline:
            time.sleep(0.05)
        found = {name: float(browser.execute_script(f"return {what}")) for name, what in MARKS.items()}
        metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        found["thread"] = 1000 * next(one["value"] for one in metrics if one["name"] == "TaskDuration")
        return found
    finally:
        browser.quit()


def main() -> None:
    """Print a line per page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        for page in [*given.pages, large_page(Path(folder))]:
            runs = [opened(page.resolve()) for _ in range(given.repeats)]
            told = ", ".join(f"{name} {median(run[name] for run in runs):.0f}" for name in runs[0])
            print(f"{page.parent.name}: {page.stat().st_size / 1e6:.1f} MB; {told}", flush=True)


if __name__ == "__main__":
    main()
