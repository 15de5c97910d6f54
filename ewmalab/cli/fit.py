"""``ewmalab fit``: what `seasonal-har` knows, from cached bars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewmalab.cli import common


def fit(
    start: Annotated[str, typer.Option(help="First day of the bars, e.g. 2025-07-20 (UTC).")],
    days: Annotated[float, typer.Option(min=8, help="Days of bars.")] = 120.0,
    forecaster: Annotated[str, typer.Option("--forecaster", "-f", help="seasonal-har.")] = "seasonal-har",
    assets: common.AssetsOption = None,
    feed: common.FeedOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Instead of seasonal_har.folder.")
    ] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Estimate seasonality, volatility curve and shocks from cached bars.

    Writes a small artifact, named by its content. An asset that is not in it
    takes what the fitted ones of its class have in common. The fit sees the
    bars that are closed a request's lead before the end of the days: prompts
    that start there can be answered with it, earlier ones are refused.

    Examples:

      ewmalab fit --start 2025-07-20 --days 170 --assets BTC,ETH,SOL,XAU

      ewmalab fit --start 2025-12-01 --days 40 --feed pyth --json
    """
    from time import perf_counter

    from ewmalab.errors import MissingDataError
    from ewmalab.forecast.seasonal_har.artifact import write_artifact
    from ewmalab.forecast.seasonal_har.fit import fit as run
    from ewmalab.market.cache import open_cache
    from ewmalab.market.feeds.make import cache_name
    from ewmalab.rulebook import load_rulebook
    from ewmalab.times import DAY, iso

    if forecaster != "seasonal-har":
        raise typer.BadParameter(f"{forecaster!r}: only seasonal-har is fitted", param_hint="--forecaster")
    loaded = common.settings(config, set_, {"data.feed": feed, "seasonal_har.folder": str(output) if output else None})
    values, rulebook, began = loaded.values, load_rulebook(), perf_counter()
    begin = common.when(start)
    end = begin + round(days * DAY) - values.replay.request_lead
    cache, name = open_cache(values.data.cache_dir), cache_name(values.data.feed, values)
    chosen = common.upper(assets) or list(rulebook.symbols)
    with common.progress(quiet=json) as bar:
        bar.add_task("fitting", total=None)
        bars = {asset: cache.read(name, asset, begin, end) for asset in chosen if rulebook.asset(asset)}
        bars = {asset: own for asset, own in bars.items() if len(own) or assets}
        if not any(len(own) for own in bars.values()):
            raise MissingDataError(f"the cache has no bars of {name} in that time; see `ewmalab data list`")
        artifact = run(bars, rulebook, end=end, feed=name, windows=values.seasonal_har.shocks == "windows")
        path = write_artifact(artifact, Path(values.seasonal_har.folder))
    seconds = perf_counter() - began
    if json:
        common.print_json(
            {
                "artifact": str(path), "end": artifact["end"], "assets": list(artifact["assets"]),
                "left_out": artifact["left_out"], "seconds": round(seconds, 3),
            }
        )  # fmt: skip
        return
    rows = [
        (asset, f"{entry['seen']['first'][:10]} to {entry['seen']['last'][:10]}", f"{entry['seen']['bars']:,}",
         *(_shape(entry["shocks"].get(step)) for step in ("300", "60")))
        for asset, entry in artifact["assets"].items()
    ]  # fmt: skip
    print(common.table(("asset", "days", "bars", "24h: scale, nu", "1h: scale, nu"), rows))
    for asset, count in artifact["left_out"].items():
        print(f"{asset}: {count:,} bars are too few: it takes what others of its class share")
    print(f"fitted on bars of {name} closed by {iso(end)}, {seconds:.1f} s")
    print(f"artifact: {path}\nuse it:   --set seasonal_har.artifact={path}")


def _shape(shocks: dict[str, float] | None) -> str:
    return "" if shocks is None else f"{shocks['scale']:.2f}, {shocks['nu']:g}"
