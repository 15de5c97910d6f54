"""A sweep of two settings, its verdict in words, and the values as a table, on a synthetic market."""

import pandas as pd

import ewmalab as ew


def main():
    """Try four combinations on the same prompts; return the verdict and a row per combination."""
    settings = ew.load_settings(flags={"data.feed": "simulated"})
    result = ew.sweep(
        {"half_life_1m": ["20m", "1h"], "nu_1m": [4, 8]},
        start="2026-01-15",
        days=0.25,
        assets="BTC",
        competitions="1h",
        settings=settings,
    )
    (cell,) = result.cells
    rows = [dict(one.value) | {"mean_crps": one.mean_crps, "p": one.p_holm} for one in cell.values]
    return cell.words(), pd.DataFrame(rows)


if __name__ == "__main__":
    words, table = main()
    print(words, table, sep="\n\n")
