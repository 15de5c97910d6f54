"""The start of a forecaster of one's own: a module that keeps the contract, and its test."""

from __future__ import annotations

import importlib.util
import re
from keyword import iskeyword
from pathlib import Path

from ewmalab.api.result import Outcome
from ewmalab.atomic_files import check_folder, write_atomic
from ewmalab.errors import ConfigError

_MODULE = '''"""A forecaster: Gaussian steps with the volatility of the last minutes. Change it to yours."""

import numpy as np

from ewmalab.errors import ForecasterError

VERSION = 1  # raise it when the form of the state changes


class {kind}:
    """Gaussian steps with the volatility of the last `window` minutes.

    Its parameters come from the table [plugin] of ewmalab.toml, or from --set plugin.scale=0.9.
    """

    def __init__(self, asset, window=240, scale=1.0):
        self.window, self.scale = int(window), float(scale)

    def initial_state(self):
        """Return the state before any bar: here the newest closes."""
        return ()

    def update(self, state, bars):
        """Return the state after closed minute bars; the same for any division of the bars."""
        return (*state, *bars.close.tolist())[-self.window - 1 :]

    def simulate(self, state, prompt, stream):
        """Return cumulative log-returns from the anchor, (steps + 1, num_simulations) float32; row 0 is zero."""
        volatility = np.diff(np.log(state)).std() * np.sqrt(prompt.time_increment / 60)
        moves = stream.generator().standard_normal((prompt.steps, prompt.num_simulations))
        paths = np.zeros((prompt.steps + 1, prompt.num_simulations), np.float32)
        np.cumsum(self.scale * volatility * moves, axis=0, out=paths[1:])
        return paths

    def dump_state(self, state):
        """Return plain numbers, texts and lists."""
        return {{"version": VERSION, "closes": list(state)}}

    def load_state(self, data):
        """Return the state that `dump_state` wrote."""
        if data.get("version") != VERSION:
            raise ForecasterError(f"a state of version {{data.get('version')}}, not {{VERSION}}")
        return tuple(data["closes"])
'''

_TEST = '''"""Tests of {module}: run `pytest {test}`."""

from ewmalab.testing import check_forecaster


def test_it_keeps_the_contract():
    check_forecaster("{module}:{kind}", {{"scale": 0.9}})
'''


def new_forecaster(name: str, folder: Path | str = ".") -> Outcome[list[Path]]:
    """Write a forecaster's module and its test, which pass as they are, and return their paths.

    Parameters
    ----------
    name : str
        Of the module, such as ``my_forecaster``; the class is ``MyForecaster``.
    folder : path

    Raises
    ------
    ConfigError
        If the name is no module's, or one of the files exists.
    """
    plain = re.sub(r"\W+", "_", name.removesuffix(".py")).strip("_").lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or iskeyword(name):
        near = f"; did you mean {plain!r}?" if plain != name and re.fullmatch(r"[a-z][a-z0-9_]*", plain) else ""
        raise ConfigError(
            f"{name!r} is no name of a module: small letters, digits and underscores, and no word of Python{near}"
        )
    paths = [Path(folder) / f"{name}.py", Path(folder) / f"test_{name}.py"]
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path} exists: choose another name")
    if importlib.util.find_spec(name) is not None:
        raise ConfigError(f"{name!r} is the name of an installed module, which it would hide: choose another name")
    check_folder(Path(folder))
    words = {"module": name, "kind": "".join(part.capitalize() for part in name.split("_")), "test": paths[1].name}
    for path, text in zip(paths, (_MODULE, _TEST), strict=True):
        write_atomic(path, text.format(**words).encode())
    told = (
        f"{paths[0]}: a forecaster that works; change it to yours\n{paths[1]}: its test\n\n"
        f"check it:   ewmalab check forecaster {name}:{words['kind']}\n"
        f"replay it:  ewmalab backtest --start 2026-01-15 --feed simulated -f {name}:{words['kind']} -f random-walk\n"
    )
    return Outcome("New forecaster", paths, lambda _: told, lambda found: {"files": list(map(str, found))})
