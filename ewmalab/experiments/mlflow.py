"""Export experiments to MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ewmalab.errors import ExperimentError
from ewmalab.experiments.inventory import leaves
from ewmalab.experiments.store import Experiment

_MAX_LENGTH = 500  # longest parameter that MLflow accepts, characters


def export(experiment: Experiment, uri: str, group: str = "ewmalab") -> tuple[str, bool]:
    """Log an experiment: settings as parameters, mean CRPS as metrics, its files as artifacts.

    Parameters
    ----------
    experiment : Experiment
    uri : str
        Tracking server or store.
    group : str
        Name of the MLflow experiment.

    Returns
    -------
    str
        The run's id.
    bool
        Whether it was logged now; an experiment that is already logged is not changed.

    Raises
    ------
    ExperimentError
        If MLflow is not installed, or cannot be reached.
    """
    inputs = experiment.manifest["inputs"]  # before the slow import: it says if this is no experiment
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise ExperimentError('MLflow is not installed: pip install "ewmalab[mlflow]"') from error
    try:
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(group)
        group_id = known.experiment_id if known else client.create_experiment(group)
        same = f"tags.ewmalab_name = '{experiment.name}' and attributes.status = 'FINISHED'"
        for run in client.search_runs([group_id], same, max_results=1):
            return str(run.info.run_id), False
        tags = {
            "ewmalab_name": experiment.name,
            "hash": experiment.manifest["hash"],
            "kind": inputs["kind"],
            "synthetic": str(bool(inputs["synthetic"])).lower(),
        }
        run = client.create_run(group_id, run_name=experiment.name, tags=tags)
        run_id = str(run.info.run_id)
        for key, value in leaves({"start": inputs["start"], "days": inputs["days"], **inputs["settings"]}):
            client.log_param(run_id, key, str(value)[:_MAX_LENGTH])
        for name, value in _metrics(experiment.summary):
            client.log_metric(run_id, name, value)
        client.log_artifacts(run_id, str(experiment.path))
        client.set_terminated(run_id)
    except MlflowException as error:
        raise ExperimentError(f"{uri}: {error}") from error
    return run_id, True


def _metrics(summary: list[dict[str, Any]]) -> Iterator[tuple[str, float]]:
    """Yield the mean CRPS of each competition, asset and forecaster; for a sweep, of the configured and best value."""
    for row in summary:
        where = f"{row['competition']}/{row['asset']}"
        if "forecaster" in row:
            found = {row["forecaster"].replace("@", "_").replace(":", "_"): row["mean_crps"]}
        else:
            found = {name: row[f"mean_crps_{name}"] for name in ("configured", "best")}
        for name, value in found.items():
            if value is not None and value == value:
                yield f"mean_crps/{where}/{name}", float(value)
