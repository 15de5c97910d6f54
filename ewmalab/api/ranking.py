"""Rankings of miners, and scores and verdicts of predictions, by the validators' rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ewmalab.analysis import ranking
from ewmalab.analysis.competition_field import Field
from ewmalab.analysis.miner_files import FromFiles, read_miners
from ewmalab.analysis.prediction_files import read_realised
from ewmalab.analysis.predictions import Prediction, PredictionScore
from ewmalab.analysis.ranking import Questions, Ranking, parse_shares
from ewmalab.analysis.real_field import field_notes, newest_span, pool_at, prompts_at, read_published, scored_range
from ewmalab.analysis.submissions import prompts_of
from ewmalab.api.inputs import Progress, Prompts, assets_of, names_of, seconds_of, time_of
from ewmalab.api.named_forecasters import NamedScores, named_scores
from ewmalab.api.result import Outcome, Result
from ewmalab.errors import ConfigError
from ewmalab.experiments.store import RANKING, Experiment
from ewmalab.market.cache import open_cache
from ewmalab.market.feeds.make import cache_name
from ewmalab.market.field.store import FieldStore
from ewmalab.replay.engines import Workers
from ewmalab.report.text.leaderboard import leaderboard_text
from ewmalab.report.text.predictions import score_text, verdicts_text
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.scoring.validation import CORRECT
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import MINUTE, span_of

if TYPE_CHECKING:
    from ewmalab.report.pages.page import Report


@dataclass(frozen=True)
class Leaderboard(Result):
    """Miners as validators would rank them."""

    ranking: Ranking
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        return leaderboard_text(self.ranking)

    def json(self) -> Any:
        return asdict(self.ranking)

    def page(self) -> Report:
        from ewmalab.report.pages.leaderboard import leaderboard_report

        return leaderboard_report(self.ranking)


def questions(
    every: str | int = "1d",
    missing: str = "",
    emission: float | None = None,
    unit: str = "alpha/day",
    correction: float | None = None,
) -> Questions:
    """Return the questions about a field, parsed from texts as people write them.

    Parameters
    ----------
    every : str or int
        Time between standings.
    missing : str
        Shares of missed prompts, separated by commas.
    emission, unit, correction
        See `Questions`.

    Raises
    ------
    ConfigError
    """
    try:
        step = seconds_of(every)
    except ValueError as error:
        raise ConfigError(f"every = {every!r}: {error}") from error
    if step is None or step < MINUTE:
        raise ConfigError(f"every = {every!r}: at least 1m")
    return Questions(step, parse_shares(missing), emission, unit, correction)


def leaderboard(
    *named: Experiment | str,
    predictions: Sequence[Path] = (),
    scores: Sequence[Path] = (),
    field: bool = False,
    questions: Questions | None = None,
    workers: Workers | int | None = None,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
    **prompts: Unpack[Prompts],
) -> Leaderboard:
    """Rank forecasters, prediction files and other miners as validators would.

    Parameters
    ----------
    *named : Experiment or str
        Forecasters, which are replayed first; or experiments, or ``EXPERIMENT/FORECASTER``. Without files, by
        default the setting ``replay.forecasters``.
    predictions : sequence of path
        Folders of prediction files. Forecasters are replayed on exactly these prompts.
    scores : sequence of path
        Tables of other miners' scores, CSV or Parquet.
    field : bool
        Rank among the real miners on the real prompts, from the cache of `fetch_field`. Earnings are estimated from
        what the subnet paid its miners, USD a day.
    questions : Questions, optional
        What to compute beside the standings of each day.
    workers, settings, progress, **prompts
        As in `backtest`.

    Raises
    ------
    ConfigError, ExperimentError, PredictionError
        If forecasters are replayed, also the errors of `backtest`.
    """
    settings, rulebook = settings or load_settings(), load_rulebook()
    choice = RuleChoice.parse(prompts.get("rules", "as-of"))
    if field:
        if predictions or scores:
            raise ConfigError("the real field has its own miners: leave out prediction files and score tables")
        return _in_field(named, questions or Questions(), settings, progress, prompts, workers)
    files = read_miners(settings.values, rulebook, choice, predictions, scores, progress)
    names = named or (() if files.scores else settings.values.replay.forecasters)
    found = _named(names, files, settings, progress, prompts, workers) if names else NamedScores({}, False)
    miners = {name: frame["crps"] for name, frame in found.frames.items()} | files.scores
    done = ranking.rank(
        Field.of(miners, rulebook, choice),
        list(found.frames) or list(files.scores)[:1],
        replace(questions or Questions(), seed=settings.values.run.seed),
        synthetic=found.synthetic or files.synthetic,
        notes=files.notes,
    )
    return _kept(done, found)


def score(
    prediction: Path | str,
    competition: str,
    *,
    realised: Path | str | None = None,
    asset: str | None = None,
    rules: str = "as-of",
    settings: LoadedSettings | None = None,
) -> Outcome[PredictionScore]:
    """Score a prediction file, and judge its format.

    Parameters
    ----------
    prediction : path
        JSON as sent to a validator: ``[start, increment, [path], ...]``.
    competition : str
        ``24h``, ``1h``, or a name.
    realised : path, optional
        JSON list of prices on the grid, null where missing.
    asset : str, optional
        Use the cached prices of this asset, without `realised`.
    rules : str
        ``as-of`` (the prediction's own start), ``latest``, or a date.
    settings : LoadedSettings, optional
        Name cache and feed.

    Raises
    ------
    PredictionError, RulebookError, MissingDataError, ConfigError
    """
    read = Prediction.read(Path(prediction), competition, load_rulebook(), RuleChoice.parse(rules))
    if realised is not None:
        truth = read_realised(Path(realised))
    elif asset:
        values = (settings or load_settings()).values
        load_rulebook().asset(asset.upper())
        cache, feed = open_cache(values.data.cache_dir), cache_name(values.data.feed, values)
        truth = read.realised(cache, feed, asset.upper())
    else:
        raise ConfigError("realised prices are missing: give --realised, or --asset for prices from the cache")
    return Outcome("Prediction", read.score(truth), score_text, PredictionScore.plain)


def validate(prediction: Path | str, competition: str, *, rules: str = "as-of") -> Outcome[Mapping[str, str]]:
    """Check a prediction's format by the rules of every date; parameters as in `score`.

    Raises
    ------
    PredictionError, RulebookError
    """
    read = Prediction.read(Path(prediction), competition, load_rulebook(), RuleChoice.parse(rules))
    ok = all(verdict == CORRECT for verdict in read.verdicts.values())
    return Outcome("Format", read.verdicts, verdicts_text, lambda verdicts: {"format": dict(verdicts)}, ok)


def _in_field(
    named: Sequence[Experiment | str],
    questions: Questions,
    settings: LoadedSettings,
    progress: Progress | None,
    prompts: Prompts,
    workers: Workers | int | None,
) -> Leaderboard:
    """Rank the named among the real miners, on the real prompts."""
    rulebook, choice = load_rulebook(), RuleChoice.parse(prompts.get("rules", "as-of"))
    store, days, start = FieldStore(settings.values.data.cache_dir), prompts.get("days", 7.0), prompts.get("start")
    span = newest_span(store, days) if start is None else span_of(time_of(start), days)
    published = read_published(
        store,
        rulebook,
        choice,
        scored_range(span, rulebook),
        competitions=names_of(prompts.get("competitions")),
        assets=assets_of(prompts.get("assets")),
    )
    real = published.field(rulebook, choice, span)
    items = prompts_at(real.crps.index.tolist(), store, rulebook, choice, settings.values.replay.request_lead)
    names = named or settings.values.replay.forecasters
    found = named_scores(names, settings, "leaderboard", progress, prompts, items, workers)
    joined = real.with_miners({name: frame["crps"] for name, frame in found.frames.items()})
    paid = pool_at(store, int(joined.scored.max())) if joined.scored is not None else None
    if questions.emission is None and paid is not None:
        questions = replace(questions, emission=paid[1], unit="USD/day")
    done = ranking.rank(
        joined,
        list(found.frames),
        replace(questions, seed=settings.values.run.seed),
        synthetic=found.synthetic,
        notes=field_notes(joined, list(found.frames), published, paid if questions.unit == "USD/day" else None),
    )
    return _kept(done, found)


def _kept(ranking: Ranking, found: NamedScores) -> Leaderboard:
    """Return the leaderboard, and keep it with the replay that it ranks, for reports."""
    if found.made is None:
        return Leaderboard(ranking, found.notes)
    notes = found.notes
    try:
        found.made.attach(RANKING, asdict(ranking))
    except OSError as error:  # a full disk must not cost the ranks
        notes += (f"note: reports of {found.made.name} lack these ranks: they cannot be written: {error.strerror}",)
    return Leaderboard(ranking, notes)


def _named(
    named: Sequence[Experiment | str],
    files: FromFiles,
    settings: LoadedSettings,
    progress: Progress | None,
    prompts: Prompts,
    workers: Workers | int | None,
) -> NamedScores:
    """Return the scores of the named; replay forecasters on the prompts of the files."""
    scheduled = None
    if files.scores:
        choice = RuleChoice.parse(prompts.get("rules", "as-of"))
        scheduled = prompts_of(files.scores, load_rulebook(), choice, settings.values.replay.request_lead)
    return named_scores(named, settings, "leaderboard", progress, prompts, scheduled, workers)
