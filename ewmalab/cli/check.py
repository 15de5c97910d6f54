"""``ewmalab check``: tests of the replay's honesty on the user's own data and forecaster."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ewmalab.cli import common

app = typer.Typer(
    no_args_is_help=True, help="Check a replay's honesty.",
    epilog="Example:  ewmalab check lookahead --start 2026-01-15 --feed simulated",
)  # fmt: skip
Start = Annotated[str, typer.Option(help="First start time, e.g. 2026-01-15 (UTC).")]
Days = Annotated[float, typer.Option(min=0.001, help="Days of prompts.")]
Forecasters = Annotated[
    list[str] | None, typer.Option("--forecaster", "-f", metavar="NAME", help="As in backtest. Repeatable.")
]
Competitions = Annotated[str | None, typer.Option(metavar="A,B", help="Only these, e.g. 24h.")]
Rules = Annotated[str, typer.Option(help="as-of, latest, or a date.")]


def _plan(
    start: str, days: float, forecaster: list[str] | None, assets: str | None, competitions: str | None,
    rules: str, feed: str | None, config: Any, set_: list[str] | None,
) -> Any:  # fmt: skip
    begin = common.when(start)
    loaded = common.settings(config, set_, {"data.feed": feed})
    from ewmalab.replay.backtest import plan_backtest
    from ewmalab.rulebook import RuleChoice

    return plan_backtest(
        loaded, start=begin, days=days, rules=RuleChoice.parse(rules), competitions=common.commas(competitions),
        assets=common.upper(assets), forecasters=forecaster, partial=True, now=common.present(),
    )  # fmt: skip


@app.command()
def lookahead(
    start: Start,
    days: Days = 1.0,
    forecaster: Forecasters = None,
    assets: common.AssetsOption = None,
    competitions: Competitions = None,
    rules: Rules = "as-of",
    feed: common.FeedOption = None,
    cuts: Annotated[int, typer.Option(min=1, help="Random cuts per forecaster, competition and asset.")] = 12,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Prove that no forecast depends on its future.

    At random moments the future is changed or removed; no earlier forecast
    may change by a bit. Exit code 1 if one does.

    Examples:

      ewmalab check lookahead --start 2026-01-15 --feed simulated

      ewmalab check lookahead --start 2026-01-10 -f my_package.model:Mine --assets BTC
    """
    from ewmalab.replay.checks import check_lookahead
    from ewmalab.times import iso

    plan = _plan(start, days, forecaster, assets, competitions, rules, feed, config, set_)
    with common.progress(quiet=json) as bar:
        task = bar.add_task("checking", total=len(plan.forecasters) * len(plan.groups))
        report = check_lookahead(plan, cuts=cuts, progress=lambda: bar.advance(task))
    if json:
        common.print_json(
            {
                "forecasts": report.forecasts,
                "cuts": report.cuts,
                "leaks": [
                    {"forecaster": k.forecaster, "competition": k.competition, "asset": k.asset,
                     "request": iso(k.request_time), "future": k.mutation} for k in report.leaks
                ],
            }
        )  # fmt: skip
    else:
        print(f"{report.cuts} cuts, {report.forecasts} forecasts reproduced: {len(report.leaks)} changed")
        for leak in report.leaks[:10]:
            print(
                f"  {leak.forecaster} {leak.competition} {leak.asset}: the forecast requested at "
                f"{iso(leak.request_time)} changed when what came after was {leak.mutation}"
            )
        if not report.leaks:
            print("no forecast depends on its future")
    if report.leaks:
        raise typer.Exit(1)


@app.command()
def warmup(
    start: Start,
    forecaster: Forecasters = None,
    assets: common.AssetsOption = None,
    competitions: Competitions = None,
    rules: Rules = "as-of",
    feed: common.FeedOption = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Largest acceptable change of volatility, percent.")] = 2.0,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Check that states follow one rule from bars, and that it reaches back far enough.

    A state is a function of the model and the bars since an origin that
    depends on the clock alone: states of the replay are made from scratch and
    compared bit for bit. Then the warm-up is cut to a half and to three
    quarters: the spread of the first paths may change by the tolerance at
    most. Exit code 1 if a rule differs or a warm-up is too short.

    Example:

      ewmalab check warmup --start 2026-01-15 --feed simulated
    """
    from ewmalab.replay.checks import check_warmup

    plan = _plan(start, 1.0, forecaster, assets, competitions, rules, feed, config, set_)
    rows = check_warmup(plan, tolerance=tolerance / 100)
    worst = max((max(abs(r.half), abs(r.three_quarters)) for r in rows), default=0.0)
    verdicts = {row.verdict for row in rows}
    if json:
        from dataclasses import asdict

        common.print_json({"rows": [asdict(r) for r in rows], "worst": worst, "tolerance": tolerance / 100})
    else:
        cells = [
            (
                *(r.forecaster, r.competition, r.asset, f"{r.days:g}"),
                *(f"{100 * r.half:+.2f} %", f"{100 * r.three_quarters:+.2f} %", r.verdict),
            )
            for r in rows
        ]
        columns = ("forecaster", "competition", "asset", "days", "from half", "from 3/4", "verdict")
        print(common.table(columns, cells))
        print("\nfrom half, from 3/4: change of the first forecast's volatility with that part of the warm-up")
        print(f"{sum(r.states for r in rows)} states made from scratch: {sum(r.differing for r in rows)} differ")
    if "rule differs" in verdicts:
        common.say("states of the replay are not those of the bars since their origin")
    if "too short" in verdicts:
        common.say(f"the warm-up is too short: volatility changes by up to {100 * worst:.1f} %; raise replay.warmup")
    if verdicts - {"sufficient"}:
        raise typer.Exit(1)


@app.command()
def parity(
    log_dir: Annotated[str | None, typer.Option(help="Folder of the log of answers.")] = None,
    state_dir: Annotated[str | None, typer.Option(help="Folder of the states.")] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Prove that live answers are what a replay makes of the same bars.

    Every logged answer is reproduced from the cached bars, with the settings
    recorded with it: state, paths and bytes must be the same, bit for bit.
    Then a backtest replays the prompts from their request times alone: its
    paths must be those that were sent, unless a bar reached the miner late or
    was revised since. Exit code 1 if one differs.

    Example:

      ewmalab check parity --log-dir live_log
    """
    loaded = common.settings(config, set_, {"live.log_dir": log_dir, "live.state_dir": state_dir})
    from ewmalab.live.audit.answer_log import LiveLog
    from ewmalab.live.audit.parity import check_parity

    log = LiveLog.read(loaded.values.live.log_dir)
    with common.progress(quiet=json) as bar:
        task = bar.add_task("checking", total=len(log.answers))
        report = check_parity(log, loaded, progress=lambda: bar.advance(task))
    backtest = report.backtest
    if json:
        common.print_json(
            {
                "answers": report.answers,
                "identical": report.identical,
                "differences": _differences(report.differences),
                "backtest": {
                    "same": backtest.same,
                    "late": backtest.late,
                    "amended": backtest.amended,
                    "differences": _differences(backtest.differences),
                },
            }
        )
    else:
        print(f"{report.answers} answers reproduced: {report.identical} identical, bit for bit")
        for row in _differences(report.differences)[:10]:
            print(f"  {row['competition']} {row['asset']} {row['start']}: {row['what']}")
        print(f"a backtest of the same prompts: {backtest.same} of {report.answers} have the paths that were sent")
        if backtest.late:
            print(f"  {backtest.late} were answered before a bar that was closed had arrived")
        if backtest.amended:
            print(f"  {backtest.amended} rested on bars that were revised or completed since")
        for row in _differences(backtest.differences)[:10]:
            print(f"  {row['competition']} {row['asset']} {row['start']}: {row['what']}")
        if report.torn:
            print(f"{report.torn} lines of the log were cut by a crash and left out")
    if report.differences or backtest.differences:
        raise typer.Exit(1)


def _differences(found: Any) -> list[dict[str, str]]:
    from ewmalab.times import iso

    return [
        {
            "competition": d.record["competition"],
            "asset": d.record["asset"],
            "start": iso(d.record["start_time"]),
            "what": d.what,
        }
        for d in found
    ]
