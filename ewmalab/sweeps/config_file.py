"""Write the values that a sweep chose as a settings file, with the evidence for each value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from ewmalab.atomic_files import check_folder, write_atomic
from ewmalab.errors import ConfigError
from ewmalab.settings import load_settings
from ewmalab.settings.layers import PRESET
from ewmalab.sweeps.judge import CellResult
from ewmalab.sweeps.parameters import label
from ewmalab.sweeps.sweep import SweepResult


def refuse_existing(path: Path | None) -> None:
    """Refuse to overwrite a settings file, or one that cannot be written; call this before hours of work, not after.

    Raises
    ------
    ConfigError
    """
    if path is not None and path.exists():
        raise ConfigError(f"{path} exists: choose another name, and merge the two files by hand")
    if path is not None:
        check_folder(path.parent)


def write_config(path: Path, result: SweepResult, *, now: int, force: bool = False) -> list[str]:
    """Write the chosen values as a settings file.

    Parameters
    ----------
    path : Path
        Must not exist.
    result : SweepResult
    now : int
        Current time, seconds since 1970-01-01 UTC; for the file's header.
    force : bool
        Take the best value even if the data cannot tell it from the configured one.

    Returns
    -------
    list of str
        What was left out, and why.

    Raises
    ------
    ConfigError
        If the file exists, or no value may be written.
    """
    refuse_existing(path)
    chosen: dict[str, dict[str, tuple[Any, list[str]]]] = {}
    refused: list[str] = []
    for cell in result.cells:
        if cell.best == cell.configured or not (cell.verdict == "better" or force):
            refused.append(f"{cell.competition} {cell.asset}: {cell.words()}")
            continue
        for key, value in cell.values[cell.best].value:
            taken = chosen.setdefault(key, {})
            evidence = _evidence(cell) + ("" if cell.verdict == "better" else " (forced)")
            before = taken.get(cell.asset)
            if before is not None and before[0] != value:
                raise ConfigError(
                    f"{key} for {cell.asset}: {cell.competition} chooses {value}, another competition {before[0]}, "
                    "and both share the setting: sweep one of them with --competitions"
                )
            taken[cell.asset] = (value, [*(before[1] if before else []), evidence])
    _check_shared(result, chosen)
    if not chosen:
        raise ConfigError(
            f"{path} is not written: no value is proven better than the configured one. --force takes the best "
            "anyway\n" + "\n".join(f"  {line}" for line in refused)
        )
    text = _render(result, chosen, refused, now)
    write_atomic(path, text.encode())
    try:
        load_settings(file=path, environ={})
    except ConfigError:
        path.unlink()
        raise
    return refused


def _check_shared(result: SweepResult, chosen: Mapping[str, Mapping[str, tuple[Any, list[str]]]]) -> None:
    """Refuse a value that is not among the best for another competition of the asset, or not judged there."""
    for cell in result.cells:
        for i, (key, present) in enumerate(cell.values[cell.configured].value):
            taken = chosen.get(key, {}).get(cell.asset)
            if taken is None or taken[0] == present:
                continue
            fine = any(v.not_ruled_out and v.value[i][1] == taken[0] for v in cell.values)
            if cell.best == cell.configured or not fine:
                raise ConfigError(
                    f"{key} for {cell.asset}: another competition chooses {taken[0]}, {cell.competition} keeps "
                    f"{present}, and both share the setting: sweep one of them with --competitions"
                )


def _render(
    result: SweepResult, chosen: Mapping[str, Mapping[str, tuple[Any, list[str]]]], refused: list[str], now: int
) -> str:
    inputs = result.inputs
    when = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")
    start = datetime.fromtimestamp(inputs["start"], UTC).strftime("%Y-%m-%d")
    data = "SYNTHETIC DATA, not a market" if inputs["synthetic"] else f"feed {inputs['settings']['data']['feed']}"
    lines = [
        f"# Chosen by a sweep of {inputs['forecasters'][0]} on {when}: {start}, {inputs['days']:g} days, {data}, rules "
        f"{inputs['rules']}, seed {inputs['settings']['run']['seed']}.",
        f"# Result {result.digest()[:16]}. Changes are of mean CRPS with 95 % intervals; p is corrected for the "
        "number of values tried.",
    ]
    presets, sections = _presets(result), dict[str, list[str]]()
    for key, by_asset in chosen.items():
        # A preset overrides the file, so what it sets is changed in the preset.
        body = sections.setdefault(presets.get(key, key.partition(".")[0]), [])
        body += [f"# {asset}: {line}" for asset, (_, evidence) in by_asset.items() for line in evidence]
        body.append(_assignment(result, key, {asset: value for asset, (value, _) in by_asset.items()}))
    for section, body in sections.items():
        lines += ["", f"[{section}]", *body]
    if refused:
        lines += ["", "# Left as they are:", *(f"# {line}" for line in refused)]
    return "\n".join(lines) + "\n"


def _presets(result: SweepResult) -> dict[str, str]:
    """Return the settings that presets set, ``section.name``, and the table of the preset that does."""
    return {
        f"{section}.{name}": f"presets.{section}.{layer.name.removeprefix(PRESET)}"
        for layer in result.sweep.workload.settings.layers
        if layer.name.startswith(PRESET)
        for section, table in layer.table.items()
        for name in table
    }


def _assignment(result: SweepResult, key: str, by_asset: dict[str, Any]) -> str:
    """Return the line that sets a setting: a value for each asset where the setting has such, else the one value.

    Raises
    ------
    ConfigError
        If the setting has one value for all assets, and they do not agree on it.
    """
    section, _, name = key.partition(".")
    present = result.sweep.workload.settings.values.plain()[section].get(name)
    if isinstance(present, Mapping):
        table = {**present, **by_asset} if section == "plugin" else by_asset
        return f"{name} = {{ {', '.join(f'{k} = {_toml(v)}' for k, v in table.items())} }}"
    values = set(by_asset.values())
    unproven = sorted({cell.asset for cell in result.cells} - by_asset.keys())
    if len(values) > 1 or unproven:
        raise ConfigError(
            f"{key} has one value for all assets, but they do not agree on it: "
            + "; ".join(f"{asset} {value}" for asset, value in by_asset.items())
            + (f"; not proven for {', '.join(unproven)}" if unproven else "")
        )
    return f"{name} = {_toml(values.pop())}"


def _evidence(cell: CellResult) -> str:
    best, present = cell.values[cell.best], cell.values[cell.configured]
    low, high = best.difference.low / present.mean_crps, best.difference.high / present.mean_crps
    return (
        f"{cell.competition}: {label(best.value)} against {label(present.value)}: CRPS {best.mean_crps:.2f} against "
        f"{present.mean_crps:.2f} bp, {100 * cell.change:+.2f} % [{100 * low:+.2f}, {100 * high:+.2f}], "
        f"p {best.p_holm:.3f}, {cell.prompts} prompts"
    )


def _toml(value: Any) -> str:
    """Return a plain value as TOML; JSON's strings, numbers and booleans are valid TOML."""
    return orjson.dumps(value).decode()
