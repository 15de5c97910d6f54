"""``ewmalab rehearse``: the whole live stack, on loopback, fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewmalab.cli import common


def rehearse(
    start: Annotated[str, typer.Option(help="Market time at which it begins (UTC).")] = "2026-10-03T04:00",
    hours: Annotated[float, typer.Option(min=0.01, help="Hours of prompts.")] = 1.0,
    speed: Annotated[float, typer.Option(min=1, max=600, help="How fast market time runs.")] = 60.0,
    feed: Annotated[
        str, typer.Option("--feed", help="simulated, or a feed of the cache: pyth, binance ...")
    ] = "simulated",
    forecaster: Annotated[
        str | None, typer.Option("--forecaster", "-f", help="Who answers; default: setting live.forecaster.")
    ] = None,
    shadow: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Also score what this forecaster would have answered.")
    ] = None,
    assets: common.AssetsOption = None,
    faults: Annotated[float, typer.Option(min=0, max=1, help="Share of feed requests that go wrong.")] = 0.0,
    folder: Annotated[
        Path | None, typer.Option(help="For cache, states and log; default: rehearsals/<now>.", metavar="DIR")
    ] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Run the whole live stack on loopback, faster than time, and judge its answers.

    Feed server, updater, miner and a validator that asks every prompt of the
    rulebook; then every answer is made again, bit for bit, and scored.

    Examples:

      ewmalab rehearse --hours 1

      ewmalab rehearse -f my_forecaster:Mine --assets BTC --hours 0.5

      ewmalab rehearse --feed pyth --start 2026-01-10 --hours 2 --faults 0.05
    """
    from ewmalab.live.audit.probe import summarise
    from ewmalab.live.rehearsal.rehearse import rehearse as run
    from ewmalab.report.text.track_record import track_text

    loaded = common.settings(config, set_, {"live.forecaster": forecaster})
    folder = folder or Path("rehearsals") / f"{common.present()}"
    with common.progress(json) as bar:
        task = bar.add_task("making the days before", total=None)
        done = run(
            loaded, folder, start=common.when(start), hours=hours, speed=speed, feed=feed, assets=common.upper(assets),
            faults=faults, shadows=shadow or [],
            progress=lambda n, total: bar.update(task, description="prompts", completed=n, total=total),
        )  # fmt: skip
    judged = summarise(done.replies)
    if json:
        parity = {"answers": done.parity.answers, "identical": done.parity.identical}
        common.print_json(
            {
                "folder": str(folder),
                "log": str(done.log_dir),
                "answers": judged,
                "parity": parity,
                "track": done.record.plain(),
            }
        )
    else:
        print(f"{judged['accepted']} of {judged['prompts']} answers accepted under the format rules of every date")
        for text, times in judged["faults"].items():
            print(f"  {times} x {text}")
        print("seconds: " + ", ".join(f"{name} {value:.3f}" for name, value in judged["seconds"].items()))
        print(f"{done.parity.identical} of {done.parity.answers} answers made again, bit for bit\n")
        print(track_text(done.record), end="")
        print(f"\nlog: {done.log_dir}; draw it with `ewmalab report {done.log_dir} "
              f"--set data.cache_dir={done.settings.values.data.cache_dir}`")  # fmt: skip
    if judged["accepted"] < judged["prompts"] or done.parity.differences:
        raise typer.Exit(1)
