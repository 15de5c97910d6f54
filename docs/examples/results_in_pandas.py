"""The results of a backtest in pandas, and a figure of them, on a synthetic market."""

import matplotlib.pyplot as plt

import ewmalab as ew


def main():
    """Replay some hours; return the mean CRPS per forecaster and hour (basis points), and the file of the figure."""
    settings = ew.load_settings(flags={"data.feed": "simulated"})
    experiment = ew.backtest(
        "ewma", "random-walk", start="2026-01-15", days=0.25, assets="BTC", competitions="1h", settings=settings
    )
    rows = experiment.results.to_pandas()  # a row per forecaster and prompt
    rows["hour"] = rows["start_time"] // 3600 % 24
    table = rows.pivot_table(index="hour", columns="forecaster", values="crps", observed=True)

    figure, axes = plt.subplots()
    table.plot(ax=axes, marker="o", xlabel="hour (UTC)", ylabel="mean CRPS (basis points)", title="synthetic prices")
    figure.savefig("crps_by_hour.png")
    plt.close(figure)
    return table, "crps_by_hour.png"


if __name__ == "__main__":
    print(main()[0])
