"""Scores of trials: from an ensemble that many prompts share, from paths that many values share, or one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ewmalab.forecast.paths import LOG_RETURN_LIMIT, check_paths
from ewmalab.forecast.protocol import LogReturns, ScaleFree
from ewmalab.forecast.streams import RandomStream
from ewmalab.replay.knowledge import Moment, moments
from ewmalab.rulebook import ScoringRule
from ewmalab.scoring.crps import score_log_returns
from ewmalab.scoring.scale_free import Observations, scale_free_scores
from ewmalab.scoring.scaled import score_scaled
from ewmalab.sweeps.trials import Ensemble, ResolvedTrial, Scores


def score_trials(trials: Sequence[ResolvedTrial]) -> list[Scores]:
    """Score trials: those with a shared ensemble from it, the others prompt by prompt.

    A trial's scores do not depend on the other trials.
    """
    groups: dict[Ensemble | str, list[int]] = defaultdict(list)
    for index, trial in enumerate(trials):
        groups[trial.ensemble or trial.source.name].append(index)
    out: list[Scores] = [np.empty(0)] * len(trials)
    for members in groups.values():
        own = [trials[i] for i in members]
        found = _score_shared(own) if own[0].ensemble else _score_each(own)
        for index, scores in zip(members, found, strict=True):
            out[index] = scores
    return out


def _score_each(trials: Sequence[ResolvedTrial]) -> Scores:
    """Simulate and score every prompt for trials with one source of paths: (k, p).

    All values of a parameter use the same random numbers.
    """
    first, cell = trials[0], trials[0].cell
    score = _score_own if first.scale is None else _score_scaled
    out = np.full((len(trials), len(cell.items)), np.nan)
    truth, scorable = cell.truth
    for i, moment in enumerate(moments(first.source.model, cell.bars, cell.prompts)):
        if scorable[i]:
            out[:, i] = score(trials, moment, truth[i], cell.items[i].rule)
    return out


def _score_own(trials: Sequence[ResolvedTrial], moment: Moment, truth: Scores, rule: ScoringRule) -> list[float]:
    """Score one prompt from each trial's own paths."""
    found = []
    for trial in trials:
        paths = moment.paths(trial.model, trial.seed)
        found.append(score_log_returns(paths, moment.anchor, truth, rule, moment.prompt.time_increment).total)
    return found


def _score_scaled(trials: Sequence[ResolvedTrial], moment: Moment, truth: Scores, rule: ScoringRule) -> Scores:
    """Score one prompt from the paths of the trials' common source, times their scales."""
    source, scales = trials[0].source, np.array([trial.scale for trial in trials])
    paths = moment.paths(source.model, source.seed)
    # A forecaster stops its paths at the limit, whatever their scale.
    free = np.maximum(scales, 1.0) * max(paths.max(), -paths.min()) < LOG_RETURN_LIMIT
    out = np.empty(len(trials))
    out[free] = score_scaled(paths, scales[free], moment.anchor, truth, rule, moment.prompt.time_increment)
    out[~free] = _score_own([t for t, one in zip(trials, free, strict=True) if not one], moment, truth, rule)
    return out


def _score_shared(trials: Sequence[ResolvedTrial]) -> list[Scores]:
    """Score the trials that share ensembles: the mean over these, each of as many paths as an answer."""
    ensemble = trials[0].ensemble
    assert ensemble is not None
    volatilities = [_volatilities(trial) for trial in trials]
    found = [
        _score_from(_reference_paths(ensemble, trials[0], index), volatilities, trials) for index in range(ensemble[4])
    ]
    return [np.mean(scores, axis=0) for scores in zip(*found, strict=True)]


def _score_from(
    log_returns: LogReturns, volatilities: Sequence[Scores], trials: Sequence[ResolvedTrial]
) -> list[Scores]:
    """Score trials from one reference ensemble, rule by rule."""
    out = [np.full(len(trial.cell.items), np.nan) for trial in trials]
    rules = dict.fromkeys(rule for trial in trials for rule in trial.cell.observations)
    for rule in rules:
        here = [i for i, trial in enumerate(trials) if rule in trial.cell.observations]
        parts = [trials[i].cell.observations[rule] for i in here]
        scores = scale_free_scores(
            log_returns,
            np.concatenate([volatilities[i][at] for i, (at, _) in zip(here, parts, strict=True)]),
            Observations.concatenate([observations for _, observations in parts]),
        )
        start = 0
        for i, (at, _) in zip(here, parts, strict=True):
            out[i][at] = scores[start : start + len(at)]
            start += len(at)
    return out


def _reference_paths(ensemble: Ensemble, trial: ResolvedTrial, index: int) -> LogReturns:
    """Return the paths of the reference state in one of the ensembles: (steps + 1, paths) float32."""
    _, time_increment, steps, count, _, seed = ensemble
    first, forecaster = trial.cell.prompts[0], trial.model.forecaster
    assert isinstance(forecaster, ScaleFree)
    prompt = replace(first, time_increment=time_increment, time_length=steps * time_increment, num_simulations=count)
    stream = RandomStream.of(seed, "reference", f"{time_increment}/{steps}", index)
    paths = trial.model.forecaster.simulate(forecaster.reference_state(), prompt, stream)
    return check_paths(trial.model.forecaster, paths, prompt)


def _volatilities(trial: ResolvedTrial) -> Scores:
    """Return the relative volatility at each prompt."""
    cell, model = trial.cell, trial.model
    found = cell.volatilities.get(model.parameters)
    if found is None:
        model.refuse_seen(cell.prompts)
        requests = np.array([prompt.request_time for prompt in cell.prompts], np.int64)
        found = model.relative_volatilities(cell.bars, cell.known, requests, cell.time_increment)
        cell.volatilities[model.parameters] = found
    return found
