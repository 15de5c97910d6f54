"""``ewmalab live``: the updater, the miner, and what goes with them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ewmalab.cli import common

if TYPE_CHECKING:
    from threading import Event


app = typer.Typer(
    invoke_without_command=True,
    help="Serve validators: updater and miner, supervised.",
    epilog="Example:  ewmalab live --wallet miner --hotkey default --external-ip 203.0.113.7",
)

StateDir = Annotated[Path | None, typer.Option(help="Folder of the states.")]
LogDir = Annotated[Path | None, typer.Option(help="Folder of the log of answers.")]
UpdateInterval = Annotated[str | None, typer.Option(help="Time between updates: 60, 60s, 2m.")]
LogLevel = Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")]
LiveFeed = Annotated[
    str | None, typer.Option("--feed", help="auto (pyth with a key, else what is scored), pyth, binance, hyperliquid.")
]
LiveForecaster = Annotated[
    str | None, typer.Option("--forecaster", "-f", help="ewma, ewma@seed or package.module:attribute.")
]
Host = Annotated[str | None, typer.Option(help="Address to serve on.")]
Port = Annotated[int | None, typer.Option(help="Port to serve on.")]
MonitorPort = Annotated[int | None, typer.Option(help="Port of /health and /metrics, on this machine only.")]
ExternalIp = Annotated[str | None, typer.Option(help="Announced on the chain, with the port.")]
Wallet = Annotated[str | None, typer.Option(help="Name of the wallet.")]
Hotkey = Annotated[str | None, typer.Option(help="Name of the wallet's hotkey.")]
WalletPath = Annotated[str | None, typer.Option(help="Folder of the wallets.")]
Network = Annotated[str | None, typer.Option(help="finney, test, or a chain endpoint.")]
Netuid = Annotated[int | None, typer.Option(help="Number of the subnet, if the network is no well-known one.")]
NoChain = Annotated[bool, typer.Option("--no-chain", help="Development: only hotkeys named with --allow may call.")]
Allow = Annotated[list[str] | None, typer.Option(metavar="HOTKEY", help="With --no-chain. Repeatable.")]
ClockUrl = Annotated[str | None, typer.Option("--clock", metavar="URL", help="Clock of `ewmalab feed serve`.")]


def flags_of(**given: Any) -> dict[str, Any]:
    """Return the settings that options stand for."""
    if given.get("assets") is not None:
        given["assets"] = common.upper(given["assets"])
    if given.get("update_interval") and given["update_interval"].isdigit():
        given["update_interval"] += "s"
    if given.pop("no_chain", False):
        given["chain"] = False
    given = {k: str(v) if isinstance(v, Path) else v for k, v in given.items()}
    return {f"live.{key}": value for key, value in given.items() if value is not None and value != []}


def _logging(level: str) -> None:
    import logging

    if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise typer.BadParameter("DEBUG, INFO, WARNING or ERROR", param_hint="--log-level")
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=level.upper(), format=form, stream=sys.stderr, force=True)


def _until_signalled(on_hangup: Callable[[], None] | None = None) -> Event:
    """Return an event that SIGTERM and SIGINT set."""
    import signal
    from threading import Event

    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if on_hangup is not None and hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: on_hangup())
    return stop


@app.callback()
def live(
    context: typer.Context,
    state_dir: StateDir = None,
    log_dir: LogDir = None,
    update_interval: UpdateInterval = None,
    log_level: LogLevel = "INFO",
    feed: LiveFeed = None,
    forecaster: LiveForecaster = None,
    assets: common.AssetsOption = None,
    host: Host = None,
    port: Port = None,
    monitor_port: MonitorPort = None,
    external_ip: ExternalIp = None,
    wallet: Wallet = None,
    hotkey: Hotkey = None,
    wallet_path: WalletPath = None,
    network: Network = None,
    netuid: Netuid = None,
    no_chain: NoChain = False,
    allow: Allow = None,
    clock: ClockUrl = None,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Serve validators: keeps an updater and a miner running.

    A process that crashes, or no longer responds, is started again.
    SIGTERM ends both in order, SIGHUP lets them take up changed settings.

    Examples:

      ewmalab live --wallet miner --hotkey default --external-ip 203.0.113.7

      ewmalab live --network test --feed pyth

      ewmalab live --no-chain --allow 5F3sa2TJAWMqDhXG6jhV4N8ko9SxwGy8TpaNS1repo5EYjQX
    """
    if context.invoked_subcommand is not None:
        return
    _logging(log_level)
    flags = flags_of(
        state_dir=state_dir, log_dir=log_dir, update_interval=update_interval, feed=feed, forecaster=forecaster,
        assets=assets, host=host, port=port, monitor_port=monitor_port, external_ip=external_ip, wallet=wallet,
        hotkey=hotkey, wallet_path=wallet_path, network=network, netuid=netuid, no_chain=no_chain, allow=allow,
        clock=clock,
    )  # fmt: skip
    loaded = common.settings(config, set_, flags)
    from threading import Event

    import orjson

    from ewmalab.forecast.model import Model
    from ewmalab.live.clock import make_clock
    from ewmalab.live.feeds import choose_feeds
    from ewmalab.live.miner.chain import load_wallet, make_chain
    from ewmalab.live.status import miner_responds, updater_responds
    from ewmalab.live.supervisor import Child, supervise
    from ewmalab.rulebook import load_rulebook

    values, time = loaded.values.live, make_clock(loaded.values.live.clock)
    # What cannot work is said once, not by children that start over and over.
    make_chain(values, load_rulebook(), load_wallet(values))
    for asset in choose_feeds(loaded.values, load_rulebook(), int(time.now())).feeds:
        Model.of(values.forecaster, load_rulebook().asset(asset), loaded)
    given = [item for text in set_ or [] for item in ("--set", text)]
    given += [item for key, value in flags.items() for item in ("--set", f"{key}={orjson.dumps(value).decode()}")]
    given += ["--config", str(config)] if config else []
    command = [sys.executable, "-m", "ewmalab", "live"]
    children = [
        Child("updater", [*command, "updater", "--log-level", log_level, *given],
              lambda: updater_responds(values, time.speed)),
        Child("miner", [*command, "miner", "--log-level", log_level, *given], lambda: miner_responds(values)),
    ]  # fmt: skip
    reload = Event()
    supervise(children, _until_signalled(reload.set), reload=reload)


@app.command()
def updater(
    state_dir: StateDir = None,
    update_interval: UpdateInterval = None,
    log_level: LogLevel = "INFO",
    warmup_date: Annotated[str | None, typer.Option(help="Make the state as of the START of this day (UTC).")] = None,
    one_shot: Annotated[bool, typer.Option("--one-shot", help="Update once and end.")] = False,
    feed: LiveFeed = None,
    forecaster: LiveForecaster = None,
    assets: common.AssetsOption = None,
    log_dir: LogDir = None,
    clock: ClockUrl = None,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Keep the states of all assets current.

    Fetches closed minute bars, follows them, saves each state whole or not
    at all, and catches up after any downtime.

    Examples:

      ewmalab live updater --state-dir state --update-interval 60

      ewmalab live updater --warmup-date 2026-01-15 --one-shot --state-dir state-2026-01-15
    """
    _logging(log_level)
    flags = flags_of(state_dir=state_dir, update_interval=update_interval, feed=feed, forecaster=forecaster,
                   assets=assets, log_dir=log_dir, clock=clock)  # fmt: skip
    date = common.when(warmup_date, "--warmup-date") if warmup_date else None
    if date is not None and not one_shot:
        raise typer.BadParameter("needs --one-shot: afterwards the state would move on", param_hint="--warmup-date")
    from threading import Event, Thread

    from ewmalab.errors import StateError
    from ewmalab.live.clock import Clock, make_clock
    from ewmalab.live.updater.refitter import Refitter, with_newest_fit
    from ewmalab.live.updater.updater import Updater

    def load() -> Any:
        return with_newest_fit(common.settings(config, set_, flags))

    loaded = load()
    reloading = Event()
    stop = _until_signalled(reloading.set)
    present = make_clock(loaded.values.live.clock) if date is None else Clock(date, 0.0, 0.0)
    made = Updater.of(loaded, present)
    with made.store.writing():
        made.restore()
        if date is not None:
            ahead = [asset for asset, f in made.followers.items() if f.newest is not None and f.newest >= date]
            if ahead:
                raise StateError(
                    f"{made.store.root} knows bars of {ahead[0]} after {warmup_date}: choose an empty --state-dir"
                )
        if one_shot:
            now = int(present.now())
            made.update(now)
            made.archive(now)
            empty = [asset for asset, f in made.followers.items() if f.newest is None]
            for asset, follower in made.followers.items():
                print(f"{asset}: {_newest(follower.newest)}")
            if empty:
                raise StateError(f"no bars of {', '.join(empty)}: {made.followers[empty[0]].counts.error}")
            return
        refitter = Refitter(load, lambda: {a: f.feed.name for a, f in made.followers.items()}, present, reloading)
        Thread(target=refitter.run, args=(stop,), daemon=True).start()
        while not stop.is_set():
            made.run(stop, reload=reloading)
            if reloading.is_set():
                reloading.clear()
                made = _changed(made, load, present)


def _changed(made: Any, load: Callable[[], Any], clock: Any) -> Any:
    """Return an updater of changed settings; that of the old ones where they cannot be used."""
    import logging

    from ewmalab.errors import EwmalabError
    from ewmalab.live.updater.updater import Updater

    try:
        new = Updater.of(load(), clock)
    except EwmalabError as error:
        logging.getLogger("ewmalab.updater").error("settings stay as they were: %s", error)
        return made
    new.store = made.store  # its lock is ours
    for follower in new.followers.values():
        follower.store = made.store
    new.restore()
    return new


def _newest(label: int | None) -> str:
    from ewmalab.times import iso

    return "no bar" if label is None else f"state after the bar of {iso(label)}"


@app.command()
def miner(
    state_dir: StateDir = None,
    log_dir: LogDir = None,
    log_level: LogLevel = "INFO",
    feed: LiveFeed = None,
    forecaster: LiveForecaster = None,
    assets: common.AssetsOption = None,
    host: Host = None,
    port: Port = None,
    monitor_port: MonitorPort = None,
    external_ip: ExternalIp = None,
    wallet: Wallet = None,
    hotkey: Hotkey = None,
    wallet_path: WalletPath = None,
    network: Network = None,
    netuid: Netuid = None,
    no_chain: NoChain = False,
    allow: Allow = None,
    clock: ClockUrl = None,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Answer validators from the newest states that an updater keeps.

    Examples:

      ewmalab live miner --state-dir state --wallet miner --hotkey default

      ewmalab live miner --no-chain --allow 5F3sa2TJAWMqDhXG6jhV4N8ko9SxwGy8TpaNS1repo5EYjQX
    """
    _logging(log_level)
    flags = flags_of(
        state_dir=state_dir, log_dir=log_dir, feed=feed, forecaster=forecaster, assets=assets, host=host, port=port,
        monitor_port=monitor_port, external_ip=external_ip, wallet=wallet, hotkey=hotkey, wallet_path=wallet_path,
        network=network, netuid=netuid, no_chain=no_chain, allow=allow, clock=clock,
    )  # fmt: skip
    from ewmalab.live.clock import make_clock
    from ewmalab.live.miner.chain import load_wallet, make_chain
    from ewmalab.live.miner.miner import Miner
    from ewmalab.live.updater.refitter import with_newest_fit
    from ewmalab.rulebook import load_rulebook

    def load() -> Any:
        return with_newest_fit(common.settings(config, set_, flags))

    loaded = load()
    own = load_wallet(loaded.values.live)
    serving = Miner(
        loaded, own.hotkey.ss58_address, make_chain(loaded.values.live, load_rulebook(), own),
        make_clock(loaded.values.live.clock), load,
    )  # fmt: skip
    serving.stop = _until_signalled(serving.reconfigure)
    serving.run()


@app.command()
def allowlist(
    watch: Annotated[bool, typer.Option("--watch", help="Write it again whenever the chain has changed.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File instead of standard output.")] = None,
    every: Annotated[str, typer.Option(help="With --watch: time between two looks.")] = "5m",
    network: Network = None,
    netuid: Netuid = None,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Print the validators' IP addresses, one a line, for a firewall.

    Those with a permit and enough stake: who else calls is refused anyway,
    and need not reach the port at all.

    Examples:

      ewmalab live allowlist

      ewmalab live allowlist --watch --output /etc/ewmalab/validators.txt
    """
    pause = common.duration(every, "--every") or 300
    loaded = common.settings(config, set_, flags_of(network=network, netuid=netuid))
    from ewmalab.atomic_files import write_atomic
    from ewmalab.errors import ChainError
    from ewmalab.live.miner.chain import allowed_ips, make_chain
    from ewmalab.rulebook import load_rulebook

    rulebook, stop = load_rulebook(), _until_signalled()
    chain = make_chain(loaded.values.live, rulebook, None)
    before: list[str] | None = None
    while not stop.is_set():
        try:
            found = allowed_ips(chain.neurons(), loaded.values.live, rulebook.at(common.present()))
        except ChainError as error:
            if not watch:
                raise
            common.say(f"{error}; the list stays as it is")
            stop.wait(30)
            continue
        if found != before:
            text = "".join(f"{ip}\n" for ip in found)
            write_atomic(output, text.encode()) if output else sys.stdout.write(text)
            sys.stdout.flush()
            before = found
        if not watch or stop.wait(pause):
            return


@app.command()
def score(
    log_dir: LogDir = None,
    state_dir: StateDir = None,
    shadow: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Also score what this forecaster would have answered.")
    ] = None,
    days: Annotated[float, typer.Option(min=0.01, help="Only prompts of the last days of the log.")] = 7.0,
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch realised prices that the cache lacks.")] = False,
    fail_on_alarm: Annotated[bool, typer.Option("--fail-on-alarm", help="Exit code 1 if there is an alarm.")] = False,
    clock: ClockUrl = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Score logged answers against realised prices, and raise alarms.

    The answers are made again from the cached bars; random-walk and every
    --shadow get the same bars, anchor and random stream.

    Examples:

      ewmalab live score --fetch

      ewmalab live score --shadow ewma@seed --shadow my_package.model:Mine
    """
    loaded = common.settings(config, set_, flags_of(log_dir=log_dir, state_dir=state_dir, clock=clock))
    from ewmalab.live.audit.answer_log import LiveLog
    from ewmalab.live.audit.track_record import track_record
    from ewmalab.live.clock import make_clock
    from ewmalab.report.text.track_record import track_text

    log = LiveLog.read(loaded.values.live.log_dir)
    with common.trials(json) as progress:
        record = track_record(
            log, loaded, now=int(make_clock(loaded.values.live.clock).now()), shadows=shadow or [], days=days,
            fetch=fetch, progress=progress,
        )  # fmt: skip
    if json:
        common.print_json(record.plain())
    else:
        print(track_text(record), end="")
    if fail_on_alarm and record.alarms:
        raise typer.Exit(1)
