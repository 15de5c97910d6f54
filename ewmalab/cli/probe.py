"""``ewmalab probe``: send prompts to a miner as a validator does."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common


def probe(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where the miner serves.")],
    axon: Annotated[
        str | None, typer.Option(metavar="HOTKEY", help="The miner's hotkey; by default looked up on the chain.")
    ] = None,
    asset: Annotated[str, typer.Option(help="Asset, e.g. BTC.")] = "BTC",
    competition: Annotated[
        str | None, typer.Option(help="E.g. crypto-1h; by default all competitions of the asset.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Prompts to send.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, max=512, help="Prompts at once.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, max=120, help="Seconds to wait for an answer.")] = 20.0,
    wallet: common.Wallet = None,
    hotkey: common.Hotkey = None,
    wallet_path: common.WalletPath = None,
    network: common.Network = None,
    netuid: common.Netuid = None,
    clock: common.Clock = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Send signed prompts to a miner and judge its answers.

    The wallet's hotkey signs; the answer must pass the format rules of every
    date. Exit code 1 unless all are accepted.

    Examples:

      ewmalab probe 127.0.0.1:8091 --axon 5F3sa2TJAWMqDhXG6jhV4N8ko9SxwGy8TpaNS1repo5EYjQX

      ewmalab probe 127.0.0.1:8091 --count 64 --concurrency 64
    """
    flags = api.live_flags(
        wallet=wallet, hotkey=hotkey, wallet_path=wallet_path, network=network, netuid=netuid, clock=clock
    )
    with common.progress(json, "judging") as progress:
        result = api.probe(
            address,
            axon=axon,
            asset=asset,
            competition=competition,
            count=count,
            concurrency=concurrency,
            timeout=timeout,
            settings=common.settings(config, set_, flags),
            progress=progress,
        )
    common.show(result, json)
