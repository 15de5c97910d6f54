"""``ewmalab probe``: ask a miner as a validator does."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab.cli import common, live


def probe(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where the miner serves.")],
    axon: Annotated[
        str | None, typer.Option(metavar="HOTKEY", help="The miner's hotkey; by default the chain is asked for it.")
    ] = None,
    asset: Annotated[str, typer.Option(help="Asset, e.g. BTC.")] = "BTC",
    competition: Annotated[
        str | None, typer.Option(help="e.g. crypto-1h; by default all that prompt the asset.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Prompts to send.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, max=512, help="Of these at once.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, max=120, help="Seconds to wait for an answer.")] = 20.0,
    wallet: live.Wallet = None,
    hotkey: live.Hotkey = None,
    wallet_path: live.WalletPath = None,
    network: live.Network = None,
    netuid: live.Netuid = None,
    clock: live.ClockUrl = None,
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
    flags = live.flags_of(
        wallet=wallet, hotkey=hotkey, wallet_path=wallet_path, network=network, netuid=netuid, clock=clock
    )
    loaded = common.settings(config, set_, flags)
    from ewmalab.errors import ChainError
    from ewmalab.live.audit.probe import Prober, next_prompts, summarise
    from ewmalab.live.clock import make_clock
    from ewmalab.live.miner.chain import load_wallet, make_chain
    from ewmalab.rulebook import load_rulebook

    rulebook = load_rulebook()
    own = load_wallet(loaded.values.live)
    if axon is None:
        neurons = make_chain(loaded.values.live, rulebook, own).neurons()
        axon = next((n.hotkey for n in neurons if n.axon == address), None)
        if axon is None:
            raise ChainError(f"no miner is registered at {address}: name its hotkey with --axon")
    now = int(make_clock(loaded.values.live.clock).now())
    prompts = next_prompts(rulebook, asset.upper(), competition, now, count)
    prober = Prober(f"http://{address}", own.hotkey, axon, connections=concurrency)
    with common.progress(quiet=json) as bar:
        task = bar.add_task("judging", total=count)
        replies = prober.load(prompts, lambda _: bar.advance(task), timeout=timeout)
    result = summarise(replies)
    if json:
        common.print_json(result)
    else:
        print(f"{result['accepted']} of {result['prompts']} answers accepted under the format rules of every date")
        for text, times in result["faults"].items():
            print(f"  {times} x {text}")
        if result["seconds"]:
            print("seconds: " + ", ".join(f"{name} {value:.3f}" for name, value in result["seconds"].items()))
    if result["accepted"] < result["prompts"]:
        raise typer.Exit(1)
