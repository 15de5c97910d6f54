"""``ewmalab live``: the updater, the miner, the allowlist and the track record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ewmalab import api
from ewmalab.cli import common

app = typer.Typer(
    invoke_without_command=True,
    help="Serve validators: updater and miner, supervised.",
    epilog="Example:  ewmalab live --wallet miner --hotkey default --external-ip 203.0.113.7",
)


@app.callback()
def live(
    context: typer.Context,
    state_dir: common.StateDir = None,
    log_dir: common.LogDir = None,
    update_interval: common.UpdateInterval = None,
    log_level: common.LogLevel = "INFO",
    feed: common.LiveFeed = None,
    forecaster: common.LiveForecaster = None,
    assets: common.Assets = None,
    host: common.Host = None,
    port: common.Port = None,
    monitor_port: common.MonitorPort = None,
    external_ip: common.ExternalIp = None,
    external_port: common.ExternalPort = None,
    wallet: common.Wallet = None,
    hotkey: common.Hotkey = None,
    wallet_path: common.WalletPath = None,
    network: common.Network = None,
    netuid: common.Netuid = None,
    no_chain: common.NoChain = False,
    allow: common.Allow = None,
    clock: common.Clock = None,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Serve validators: keep an updater and a miner running.

    A process that crashes or hangs is restarted. SIGTERM shuts both down in
    order, SIGHUP makes them reload the settings.

    Examples:

      ewmalab live --wallet miner --hotkey default --external-ip 203.0.113.7

      ewmalab live --network test --feed pyth

      ewmalab live --no-chain --allow 5F3sa2TJAWMqDhXG6jhV4N8ko9SxwGy8TpaNS1repo5EYjQX
    """
    if context.invoked_subcommand is not None:
        return
    flags = _flags(context)
    options = [item for text in set_ or [] for item in ("--set", text)] + api.options_of(flags)
    options += ["--config", str(config)] if config else []
    api.run_live(common.settings(config, set_, flags), options, log_level=log_level)


@app.command()
def updater(
    context: typer.Context,
    state_dir: common.StateDir = None,
    update_interval: common.UpdateInterval = None,
    log_level: common.LogLevel = "INFO",
    warmup_date: Annotated[
        str | None,
        typer.Option(
            help="Make the state as of the START of this day (UTC); with --one-shot.",
            callback=common.checked("parse_time"),
        ),
    ] = None,
    one_shot: Annotated[bool, typer.Option("--one-shot", help="Update once and end.")] = False,
    feed: common.LiveFeed = None,
    forecaster: common.LiveForecaster = None,
    assets: common.Assets = None,
    log_dir: common.LogDir = None,
    clock: common.Clock = None,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Keep the states of all assets current.

    Fetches closed minute bars, updates the states, saves each atomically, and
    catches up after any downtime.

    Examples:

      ewmalab live updater --state-dir state --update-interval 60

      ewmalab live updater --warmup-date 2026-01-15 --one-shot --state-dir state-2026-01-15
    """
    flags = _flags(context)

    def load() -> api.LoadedSettings:
        return common.settings(config, set_, flags)

    if one_shot:
        common.show(api.update_states(load, date=warmup_date, log_level=log_level), json=False)
    elif warmup_date:
        raise typer.BadParameter("needs --one-shot, or the state would be updated further", param_hint="--warmup-date")
    else:
        api.run_updater(load, log_level=log_level)


@app.command()
def miner(
    context: typer.Context,
    miner: common.Miner = None,
    state_dir: common.StateDir = None,
    log_dir: common.LogDir = None,
    log_level: common.LogLevel = "INFO",
    feed: common.LiveFeed = None,
    forecaster: common.LiveForecaster = None,
    assets: common.Assets = None,
    host: common.Host = None,
    port: common.Port = None,
    monitor_port: common.MonitorPort = None,
    external_ip: common.ExternalIp = None,
    external_port: common.ExternalPort = None,
    wallet: common.Wallet = None,
    hotkey: common.Hotkey = None,
    wallet_path: common.WalletPath = None,
    network: common.Network = None,
    netuid: common.Netuid = None,
    no_chain: common.NoChain = False,
    allow: common.Allow = None,
    clock: common.Clock = None,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Answer validators from the newest states that an updater keeps.

    Examples:

      ewmalab live miner --state-dir state --wallet miner --hotkey default

      ewmalab live miner --no-chain --allow 5F3sa2TJAWMqDhXG6jhV4N8ko9SxwGy8TpaNS1repo5EYjQX
    """
    flags = _flags(context)
    api.run_miner(lambda: common.settings(config, set_, flags), log_level=log_level)


@app.command()
def allowlist(
    watch: Annotated[bool, typer.Option("--watch", help="Rewrite it whenever the chain changes.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File instead of standard output.")] = None,
    form: Annotated[str, typer.Option("--format", help="plain | nft | ipset | ufw")] = "plain",
    every: Annotated[
        str, typer.Option(help="With --watch: time between queries.", callback=common.checked("parse_duration"))
    ] = "5m",
    network: common.Network = None,
    netuid: common.Netuid = None,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Print the validators' IP addresses, one per line or as a firewall takes them.

    Lists validators with a permit and enough stake, and the addresses that
    the subnet has published. The miner refuses all other callers, so a
    firewall may keep them out. A validator that serves no axon is named on
    standard error, since nobody knows its address.

    Examples:

      ewmalab live allowlist

      ewmalab live allowlist --watch --output /etc/ewmalab/validators.txt

      ewmalab live allowlist --format nft | nft -f -
    """
    settings = common.settings(config, set_, api.live_flags(network=network, netuid=netuid))
    api.write_allowlist(output, watch=watch, every=every, form=form, settings=settings, say=common.say)


@app.command()
def backup(
    archive: Annotated[Path, typer.Argument(help="A .tar.gz file that does not exist yet.")],
    logs: Annotated[bool, typer.Option("--logs", help="Add the answer log.")] = False,
    state_dir: common.StateDir = None,
    log_dir: common.LogDir = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Save states, nonces, notes, fits and the settings file.

    Live processes may run meanwhile. Wallets are not saved.

    Examples:

      ewmalab live backup miner.tar.gz

      ewmalab live backup miner.tar.gz --logs
    """
    settings = common.settings(config, set_, api.live_flags(state_dir=state_dir, log_dir=log_dir))
    common.show(api.back_up(archive, logs=logs, settings=settings), json)


@app.command()
def restore(
    archive: Annotated[Path, typer.Argument(help="A file that `ewmalab live backup` wrote.")],
    state_dir: common.StateDir = None,
    log_dir: common.LogDir = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Restore what `ewmalab live backup` saved.

    Refuses while live processes run. All is verified before anything is
    moved, and what is there is moved aside.

    Examples:

      ewmalab live restore miner.tar.gz
    """
    settings = common.settings(config, set_, api.live_flags(state_dir=state_dir, log_dir=log_dir))
    common.show(api.restore(archive, settings=settings, settings_file=config), json)


@app.command()
def score(
    log_dir: common.LogDir = None,
    state_dir: common.StateDir = None,
    miner: common.Miner = None,
    shadow: common.Shadow = None,
    days: Annotated[
        float, typer.Option(min=0.01, max=common.MAX_DAYS, help="Only prompts of the last days of the log.")
    ] = 7.0,
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch realised prices that the cache lacks.")] = False,
    fail_on_alarm: Annotated[bool, typer.Option("--fail-on-alarm", help="Exit code 1 if there is an alarm.")] = False,
    clock: common.Clock = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Score logged answers against realised prices, and raise alarms.

    The answers are reproduced from the cached bars; random-walk and every
    --shadow get the same bars, anchor and random stream.

    Examples:

      ewmalab live score --fetch

      ewmalab live score --shadow ewma@seed --shadow my_package.model:Mine
    """
    settings = common.settings(
        config, set_, api.live_flags(log_dir=log_dir, state_dir=state_dir, miner=miner, clock=clock)
    )
    with common.progress(json, "prompts") as progress:
        result = api.track_record(shadows=shadow or (), days=days, fetch=fetch, settings=settings, progress=progress)
    common.show(result, json)
    if fail_on_alarm and result.alarms:
        raise typer.Exit(1)


def _flags(context: typer.Context) -> dict[str, Any]:
    """Return the settings ``live.*`` given by a command's options."""
    other = {"log_level", "warmup_date", "one_shot", "config", "set_"}
    return api.live_flags(**{name: value for name, value in context.params.items() if name not in other})
