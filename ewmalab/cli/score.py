"""``ewmalab score`` and ``ewmalab validate``: a prediction file, judged as validators do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ewmalab.cli import common

Prediction = Annotated[Path, typer.Argument(help="JSON as sent to a validator: \\[start, dt, \\[path], ...].")]
CompetitionOption = Annotated[
    str, typer.Option(metavar="NAME", help="24h, 1h, or a competition's name under the rules.")
]
RulesOption = Annotated[str, typer.Option(help="as-of (the prediction's own start), latest, or a date.")]


def _competition(name: str, rules: str, start: int) -> Any:
    """Return the one competition that a name stands for (competitions of one horizon share their grid)."""
    from ewmalab.rulebook import RuleChoice, load_rulebook

    return RuleChoice.parse(rules).at(load_rulebook(), start).select([name])[0]


def _verdicts(prediction: list[Any], competition: Any, start: int) -> dict[str, str]:
    from ewmalab.rulebook import load_rulebook
    from ewmalab.scoring.validation import validate_response

    return {
        response_format: validate_response(
            prediction,
            start_time=start,
            time_increment=competition.time_increment,
            time_length=competition.time_length,
            num_simulations=competition.num_simulations,
            response_format=response_format,
            process_time="0",  # a file has arrived
        )
        for response_format in load_rulebook().response_formats()
    }


def _start(prediction: list[Any], path: Path) -> int:
    from ewmalab.errors import PredictionError

    if not prediction or isinstance(prediction[0], bool) or not isinstance(prediction[0], int):
        raise PredictionError(f"{path}: the first item must be the start time, whole seconds since 1970-01-01 UTC")
    return int(prediction[0])


def score(
    prediction: Prediction,
    competition: CompetitionOption,
    realised: Annotated[
        Path | None,
        typer.Option(help="JSON list of prices on the grid, null = missing; default: from the cache."),
    ] = None,
    rules: RulesOption = "as-of",
    asset: Annotated[str | None, typer.Option(help="Asset, for prices from the cache.")] = None,
    feed: common.FeedOption = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Score a prediction: CRPS in total and per interval, and the verdicts on its format.

    Examples:

      ewmalab score prediction.json --realised prices.json --competition 1h --rules 2026-05-01

      ewmalab score prediction.json --competition 24h --asset BTC --feed pyth --json
    """
    import numpy as np

    from ewmalab.analysis.prediction_files import read_prediction, read_realised
    from ewmalab.errors import MissingDataError, PredictionError
    from ewmalab.scoring.crps import score_paths
    from ewmalab.times import iso

    answer = read_prediction(prediction)
    start = _start(answer, prediction)
    chosen = _competition(competition, rules, start)
    if realised is not None:
        truth = read_realised(realised)
    elif asset:
        from ewmalab.market.cache import open_cache
        from ewmalab.market.feeds.make import cache_name

        loaded = common.settings(config, set_, {"data.feed": feed})
        name = cache_name(loaded.values.data.feed, loaded.values)
        grid = start + chosen.time_increment * np.arange(chosen.steps + 1)
        end = int(grid[-1]) + 60
        cache = open_cache(loaded.values.data.cache_dir)
        if cache.missing(name, asset.upper(), start, end):
            raise MissingDataError(
                f"the cache lacks bars of {name} {asset.upper()} between {iso(start)} and {iso(end)}; get them with\n"
                f"  ewmalab data fetch --feed {name} --assets {asset.upper()} --start {iso(start)[:10]} --days 2"
            )
        truth = cache.read(name, asset.upper(), start, end).closes_at(grid)
    else:
        raise typer.BadParameter("needed, or --asset for prices from the cache", param_hint="--realised")
    verdicts = _verdicts(answer, chosen, start)
    try:
        paths = np.array(answer[2:], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PredictionError(f"{prediction}: its paths are not a table of numbers: {error}") from error
    result = score_paths(paths, truth, chosen.scoring, chosen.time_increment)
    if json:
        common.print_json(
            {
                "competition": chosen.name,
                "rule": chosen.scoring.name,
                "start": iso(start),
                "total": result.total,
                "intervals": dict(result.intervals),
                "volatility_term": result.volatility_term,
                "changes": result.changes,
                "format": verdicts,
            }
        )
        return
    print(f"{chosen.name} from {iso(start)}, scored by {chosen.scoring.name}")
    if result.total == -1:
        print("invalid: a simulated price is 0; validators give -1")
    rows = [(name, f"{value:.4f}") for name, value in result.intervals.items()]
    if chosen.scoring.volatility_blocks:
        rows.append(("volatility term", f"{result.volatility_term:.4f}"))
    print(common.table(("interval", "CRPS (bp)"), [*rows, ("total", f"{result.total:.4f}")]))
    _print_verdicts(verdicts)


def validate(
    prediction: Prediction,
    competition: CompetitionOption,
    rules: RulesOption = "as-of",
    json: common.Json = False,
) -> None:
    """Judge a prediction's format by the rules of all dates; exit code 1 if any refuses it.

    Examples:

      ewmalab validate prediction.json --competition 24h

      ewmalab validate prediction.json --competition crypto-1h --rules latest --json
    """
    from ewmalab.analysis.prediction_files import read_prediction

    answer = read_prediction(prediction)
    start = _start(answer, prediction)
    verdicts = _verdicts(answer, _competition(competition, rules, start), start)
    if json:
        common.print_json({"format": verdicts})
    else:
        _print_verdicts(verdicts)
    if any(verdict != "CORRECT" for verdict in verdicts.values()):
        raise typer.Exit(1)


def _print_verdicts(verdicts: dict[str, str]) -> None:
    from ewmalab.rulebook import load_rulebook

    for name, period in load_rulebook().response_formats().items():
        print(f"format {period}: {verdicts[name]}")
