"""Keep the ensembles of a replay as prediction files, as the subnet's own backtester names and reads them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import orjson

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import ConfigError
from ewmalab.forecast.protocol import LogReturns, Prompt
from ewmalab.scoring.answer_format import render
from ewmalab.times import iso

_PRICE = 10  # bytes of a price and its comma


def prediction_path(folder: Path, forecaster: str, prompt: Prompt) -> Path:
    """Return ``<folder>/<forecaster>/predictions/YYYY-MM-DD_HH:MM:SSZ_<ASSET>_<seconds>.json``.

    Examples
    --------
    >>> prompt = Prompt(1768435200, "24h", "BTC", 1768435090, 300, 86400, 1000)
    >>> prediction_path(Path("out"), "my.model:Mine", prompt).as_posix()
    'out/my.model_Mine/predictions/2026-01-15_00:00:00Z_BTC_86400.json'
    """
    miner = re.sub(r"[^A-Za-z0-9._@-]", "_", forecaster)
    name = f"{iso(prompt.start_time).replace('T', '_')}_{prompt.asset}_{prompt.time_length}.json"
    return folder / miner / "predictions" / name


def keep_prediction(folder: Path, forecaster: str, prompt: Prompt, anchor: float, paths: LogReturns) -> None:
    """Write one ensemble, with the digits that validators accept.

    Parameters
    ----------
    folder : Path
    forecaster : str
    prompt : Prompt
    anchor : float
        Price at which the paths start.
    paths : (steps + 1, n) float32
        Log-returns since the anchor.

    Raises
    ------
    FormatError
        If a price is outside of what validators accept.
    """
    head = {
        "start_timestamp": prompt.start_time,
        "asset": prompt.asset,
        "time_increment": prompt.time_increment,
        "time_length": prompt.time_length,
    }
    answer = render(prompt.start_time, prompt.time_increment, anchor, paths)
    rows = answer[answer.index(b"[", 1) : -1]
    data = orjson.dumps(head)[:-1] + b',"paths":[' + rows + b"]}"
    write_atomic(prediction_path(folder, forecaster, prompt), data)


def check_room(folder: Path, prompts: Iterable[Prompt], forecasters: int) -> str:
    """Return in words how many files will be kept and about how large they are.

    Parameters
    ----------
    folder : Path
    prompts : iterable of Prompt
    forecasters : int

    Raises
    ------
    ConfigError
        If the disk has less room.
    """
    sizes = [prompt.num_simulations * (prompt.steps + 1) * _PRICE for prompt in prompts]
    count, size = forecasters * len(sizes), forecasters * sum(sizes)
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    words = f"{count} prediction files of about {_size(size)} in {folder}"
    if size > free:
        raise ConfigError(f"{words}: the disk has {_size(free)} left; choose fewer prompts, or another folder")
    return f"keeping {words}; the disk has {_size(free)} left"


def _size(count: int) -> str:
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count // 1000**power} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
