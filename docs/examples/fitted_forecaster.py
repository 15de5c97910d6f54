"""A forecaster of one's own with a fit: what an hour of the day does to volatility, on a synthetic market."""

import numpy as np

import ewmalab as ew
from ewmalab.errors import ForecasterError, MissingDataError


class HourlyVolatility:
    """Gaussian steps with the volatility of the last `window` minutes, times a factor fitted per hour of the day."""

    def __init__(self, asset, window=240):
        self.window = int(window)
        self.factors = np.ones(24)

    def initial_state(self):
        return ()

    def update(self, state, bars):
        return (*state, *bars.close.tolist())[-self.window - 1 :]

    def simulate(self, state, prompt, stream):
        recent = np.diff(np.log(state)).std() * np.sqrt(prompt.time_increment / 60)
        hours = (prompt.start_time + prompt.time_increment * np.arange(prompt.steps)) // 3600 % 24
        volatility = recent * self.factors[hours]
        moves = stream.generator().standard_normal((prompt.steps, prompt.num_simulations))
        paths = np.zeros((prompt.steps + 1, prompt.num_simulations), np.float32)
        np.cumsum(volatility[:, None] * moves, axis=0, out=paths[1:])
        return paths

    def dump_state(self, state):
        return {"version": 1, "closes": list(state)}

    def load_state(self, data):
        if data.get("version") != 1:
            raise ForecasterError(f"a state of version {data.get('version')}, not 1")
        return tuple(data["closes"])

    def fit(self, bars, assets, *, end, prior=None):
        """Return the volatility of each hour of the day over that of all hours, from all assets together."""
        squares, hours = [], []
        for own in bars.values():
            squares.append(np.diff(np.log(own.close)) ** 2)
            hours.append(own.timestamp[1:] // 3600 % 24)
        square, hour = np.concatenate(squares), np.concatenate(hours)
        counts = np.bincount(hour, minlength=24)
        if counts.min() < 60:
            raise MissingDataError("an hour of the day has less than 60 minutes of bars: fit on more days")
        variance = np.bincount(hour, weights=square, minlength=24) / counts
        return {"factors": np.sqrt(variance / square.mean()).tolist()}

    def with_fit(self, numbers):
        """Return the same forecaster with fitted factors."""
        if len(numbers.get("factors", ())) != 24:
            raise ForecasterError("not a fit of HourlyVolatility")
        fitted = HourlyVolatility(None, self.window)
        fitted.factors = np.array(numbers["factors"])
        return fitted


def main():
    """Fit on ten days, then replay the hours after them against the reference miner."""
    settings = ew.load_settings(flags={"data.feed": "simulated"})
    ew.fetch_bars("2026-01-05", 10, assets="BTC", settings=settings)
    fit = ew.fit("2026-01-05", 9.5, forecaster="fitted_forecaster:HourlyVolatility", assets="BTC", settings=settings)
    fitted = settings.with_flags({"fit.artifacts": [str(fit.path)]})
    return ew.backtest(
        "fitted_forecaster:HourlyVolatility",
        "random-walk",
        start="2026-01-14T15:00",
        days=0.1,
        assets="BTC",
        competitions="1h",
        settings=fitted,
    )


if __name__ == "__main__":
    print(main().text())
