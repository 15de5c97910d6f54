"""Shared by the commands: options, settings, output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ewmalab import api
from ewmalab.cli.complete import names, words
from ewmalab.cli.edge import say as say
from ewmalab.cli.progress import RESUME_SWEEP as RESUME_SWEEP
from ewmalab.cli.progress import SAME_COMMAND as SAME_COMMAND
from ewmalab.cli.progress import progress as progress


def checked(parser: str) -> Callable[[Any], Any]:
    """Return a callback that refuses the values that an API function refuses; the option keeps its value."""

    def check(value: Any) -> Any:
        try:
            if value is not None:
                getattr(api, parser)(value)
        except (ValueError, api.EwmalabError) as error:
            raise typer.BadParameter(str(error)) from error
        return value

    return check


MAX_DAYS = 3653  # ten years: a longer range is a mistake
MAX_WORKERS = 4096

# ------------------------------------------------------------------------------------------------ of all commands

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings file instead of ./ewmalab.toml.", rich_help_panel="Settings"
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set any setting, e.g. ewma.half_life_1m.BTC=45m. Repeatable.",
        rich_help_panel="Settings",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

# ------------------------------------------------------------------------------------------------ which prompts

Start = Annotated[
    str | None,
    typer.Option(
        "--start",
        help="First start time, e.g. 2026-01-15 (UTC); default: the newest cached days.",
        callback=checked("parse_time"),
    ),
]
Days = Annotated[float, typer.Option("--days", min=0.001, max=MAX_DAYS, help="Days of prompts.")]
Assets = Annotated[
    str | None,
    typer.Option("--assets", metavar="A,B", help="Only these assets, e.g. BTC,ETH.", autocompletion=names("assets")),
]
Competitions = Annotated[
    str | None,
    typer.Option(
        "--competitions", metavar="A,B", help="Only these, e.g. 24h or crypto-1h.", autocompletion=names("competitions")
    ),
]
Rules = Annotated[
    str,
    typer.Option(
        "--rules", help="as-of (each prompt's own date), latest, or a date.", autocompletion=words("as-of", "latest")
    ),
]
PromptSource = Annotated[
    str,
    typer.Option(
        "--prompts",
        metavar="scored|sent|field|FILE",
        help="The prompts that validators score, all that they send, the real ones of `field fetch`, or a file of "
        "start times (CSV, Parquet, JSON).",
        autocompletion=words("scored", "sent", "field"),
    ),
]
Cadence = Annotated[
    str | None,
    typer.Option(
        "--cadence",
        help="Time between prompts, e.g. 1h, instead of the rulebook's.",
        callback=checked("parse_duration"),
    ),
]
Simulations = Annotated[
    int | None, typer.Option("--simulations", min=1, max=100_000, help="Paths per prompt, instead of the rulebook's.")
]
Partial = Annotated[bool, typer.Option("--partial", help="If realised prices are missing, score the other prompts.")]

# ------------------------------------------------------------------------------------------------ with what

Feed = Annotated[
    str | None,
    typer.Option(
        "--feed",
        help="pyth, binance, hyperliquid, file or simulated; default: setting data.feed.",
        autocompletion=names("feeds"),
    ),
]
ScoredFeed = Annotated[
    str | None,
    typer.Option("--scored-feed", help="Feed of the realised prices, if different.", autocompletion=names("feeds")),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of all random streams.")]
Forecaster = Annotated[
    str,
    typer.Option(
        "--forecaster",
        "-f",
        metavar="NAME",
        help="ewma, ewma@seed or package.module:attribute.",
        autocompletion=names("forecasters"),
    ),
]
Forecasters = Annotated[
    list[str] | None,
    typer.Option(
        "--forecaster",
        "-f",
        metavar="NAME",
        help="ewma, ewma@seed, seasonal-har, random-walk, blend or package.module:attribute. Repeatable; the last is "
        "the baseline.",
        autocompletion=names("forecasters"),
    ),
]
Exact = Annotated[bool, typer.Option("--exact", help="Simulate every prompt by itself, even if one ensemble would do.")]
Name = Annotated[
    str, typer.Option("--name", help="Part of the experiment directory's name.", callback=checked("check_name"))
]
WriteConfig = Annotated[
    Path | None,
    typer.Option(
        "--write-config",
        metavar="FILE",
        help="Write values proven better as a settings file.",
        callback=checked("refuse_existing"),
    ),
]
Force = Annotated[bool, typer.Option("--force", help="With --write-config: also write values not proven better.")]
Workers = Annotated[
    int, typer.Option("--workers", min=0, max=MAX_WORKERS, help="Threads or processes; 0: one per processor.")
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        help="threads, processes or dask: where the work is done. Results are the same.",
        autocompletion=words("threads", "processes", "dask"),
    ),
]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", metavar="tcp://HOST:PORT", help="A running Dask scheduler.")
]
ExperimentName = Annotated[
    str, typer.Argument(help="Path, name, unique part of a name, or latest.", autocompletion=names("experiments"))
]

# ------------------------------------------------------------------------------------------------ live

StateDir = Annotated[Path | None, typer.Option(help="Folder of the states.")]
LogDir = Annotated[Path | None, typer.Option(help="Folder of the answer log.")]
UpdateInterval = Annotated[str | None, typer.Option(help="Time between updates: 60, 60s, 2m.")]
LogLevel = Annotated[
    str,
    typer.Option(
        help="DEBUG, INFO, WARNING or ERROR.",
        callback=checked("parse_level"),
        autocompletion=words("DEBUG", "INFO", "WARNING", "ERROR"),
    ),
]
LiveFeed = Annotated[
    str | None,
    typer.Option(
        "--feed",
        help="auto (pyth with a key, else the scored feed), pyth, binance, hyperliquid.",
        autocompletion=names("feeds"),
    ),
]
LiveForecaster = Annotated[
    str | None,
    typer.Option(
        "--forecaster",
        "-f",
        metavar="NAME",
        help="ewma, ewma@seed or package.module:attribute; default: setting live.forecaster.",
        autocompletion=names("forecasters"),
    ),
]
Host = Annotated[str | None, typer.Option(help="Address to serve on.")]
Port = Annotated[int | None, typer.Option(help="Port to serve on.")]
MonitorPort = Annotated[int | None, typer.Option(help="Port of /health and /metrics, on this machine only.")]
ExternalIp = Annotated[str | None, typer.Option(help="Public IP address to announce on the chain, with the port.")]
ExternalPort = Annotated[int | None, typer.Option(help="Port to announce, if it differs from the port served on.")]
Miner = Annotated[str | None, typer.Option(metavar="NAME", help="One of several miners: its name in live.miners.")]
Wallet = Annotated[str | None, typer.Option(help="Name of the wallet.")]
Hotkey = Annotated[str | None, typer.Option(help="Name of the wallet's hotkey.")]
WalletPath = Annotated[str | None, typer.Option(help="Folder of the wallets.")]
Network = Annotated[str | None, typer.Option(help="finney, test, or a chain endpoint.")]
Netuid = Annotated[int | None, typer.Option(help="Number of the subnet, if the network is not well known.")]
NoChain = Annotated[bool, typer.Option("--no-chain", help="Development: only hotkeys named with --allow may call.")]
Allow = Annotated[
    list[str] | None, typer.Option(metavar="HOTKEY", help="May call, whatever the chain says. Repeatable.")
]
Clock = Annotated[str | None, typer.Option("--clock", metavar="URL", help="Clock of `ewmalab feed serve`.")]
Shadow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Also score what this forecaster would answer. Repeatable.",
        autocompletion=names("forecasters"),
    ),
]
History = Annotated[
    str,
    typer.Option("--feed", help="simulated, or a feed in the cache: pyth, binance ...", autocompletion=names("feeds")),
]
Faults = Annotated[float, typer.Option(min=0, max=1, help="Share of feed requests with a random fault.")]


def value_lists(names: list[str], lists: list[str] | None) -> dict[str, list[str] | None]:
    """Return the values of each parameter, from one list for each, one for all, or none."""
    given = lists or []
    if twice := [name for name in names if [one.lower() for one in names].count(name.lower()) > 1]:
        raise typer.BadParameter(f"{twice[0]} is given twice", param_hint="--param")
    if len(given) > 1 and len(given) != len(names):
        raise typer.BadParameter(f"{len(given)} lists for {len(names)} parameters", param_hint="--values")
    if empty := [text for text in given if not text.replace(",", "").strip()]:
        raise typer.BadParameter(f"{empty[0]!r} holds no value", param_hint="--values")
    texts = given if len(given) > 1 else given * len(names)
    return {
        name: [item.strip() for item in texts[i].split(",") if item.strip()] if texts else None
        for i, name in enumerate(names)
    }


def settings(
    config: Path | None, assignments: list[str] | None, flags: Mapping[str, Any] | None = None
) -> api.LoadedSettings:
    """Load the settings of a command; given options become the strongest layer."""
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    return api.load_settings(file=config, flags={**api.parse_assignments(assignments or []), **given})


def show(result: api.Result, json: bool) -> None:
    """Print a result; exit with code 1 if it is not ok."""
    for note in result.notes:
        say(note)
    if json:
        import orjson

        sys.stdout.write(orjson.dumps(result.json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
    else:
        sys.stdout.write(result.text())
    if not result.ok:
        raise typer.Exit(1)
