"""`blend`: its ensemble is the mixture that its weights name, and it keeps what its members promise."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import har
import numpy as np
import pytest
from twins import random_bars

from ewmalab.errors import ConfigError, ForecasterError, MissingDataError
from ewmalab.forecast.blend import Blend, FittedBlend, blend, paths_of_each
from ewmalab.forecast.load import load_forecaster
from ewmalab.forecast.model import Fit, Model
from ewmalab.forecast.protocol import Ageing, Fittable, LogReturns, Prompt
from ewmalab.forecast.random_walk import RandomWalk
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.replay.fits import artifact_at, fit_remarks, load_model
from ewmalab.replay.priors import prior_of
from ewmalab.rulebook import Asset, load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.settings.layers import DEFAULTS
from ewmalab.times import DAY

BTC = load_rulebook().asset("BTC")
START = 1_768_435_200 + 10 * DAY
BARS = random_bars(600, start=START - 600 * 60)
PROMPT = Prompt(START, "1h", "BTC", START - 60, 60, 3600, 1000)


@dataclass(frozen=True)
class Step:
    """A synthetic member: after the first step every path stands at one level."""

    asset: Asset
    level: float
    warmup: int = DAY

    def initial_state(self) -> float:
        return math.nan

    def update(self, state: float, bars: Bars) -> float:
        return float(bars.close[-1]) if len(bars) else state

    def aged(self, state: float, until: int) -> float:
        return float(until)

    def simulate(self, state: float, prompt: Prompt, stream: RandomStream) -> LogReturns:
        out = np.full((prompt.steps + 1, prompt.num_simulations), self.level, np.float32)
        out[0] = 0
        return out

    def dump_state(self, state: float) -> dict[str, Any]:
        return {"version": 1, "last": state.hex()}

    def load_state(self, data: Any) -> float:
        return float.fromhex(data["last"])


class Growing(Step):
    """A synthetic member that breaks the protocol: it returns a path too many."""

    def simulate(self, state: float, prompt: Prompt, stream: RandomStream) -> LogReturns:
        return np.zeros((prompt.steps + 1, prompt.num_simulations + 1), np.float32)


def settings(**flags: Any) -> LoadedSettings:
    return load_settings(file=DEFAULTS, environ={}, flags={f"blend.{key}": value for key, value in flags.items()})


def answered(forecaster: Any, prompt: Prompt = PROMPT) -> LogReturns:
    found: LogReturns = forecaster.simulate(
        forecaster.update(forecaster.initial_state(), BARS), prompt, prompt.stream(1)
    )
    return found


def two(*weights: float, walk: float = 0.01) -> Blend:
    return blend(BTC, {"calm": RandomWalk(BTC, walk / 4), "wild": RandomWalk(BTC, walk)}, weights)


def mixture_gap(paths: LogReturns, shares: tuple[float, float]) -> float:
    """Return the largest distance between the last points' distribution and the mixture of two normal ones."""
    points, n = np.sort(paths[-1].astype(float)), paths.shape[1]
    normal = np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)))
    expected = shares[0] * normal(points / 0.0025) + shares[1] * normal(points / 0.01)
    return float(np.abs(expected - (np.arange(n) + 0.5) / n).max())


# ------------------------------------------------------------------------------------------------- the mixture


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.2, 0.8), (0.75, 0.25)])
def test_the_marginal_is_the_mixture_of_the_weights_and_of_no_others(shares: tuple[float, float]) -> None:
    many = Prompt(START, "1h", "BTC", START - 60, 300, 3600, 20_000)
    paths = answered(two(*shares), many)
    limit = 1.95 / math.sqrt(20_000)  # Kolmogorov, 0.1 %
    assert mixture_gap(paths, shares) < limit
    planted = two(*(x + y for x, y in zip(shares, (0.1, -0.1), strict=True)))
    assert mixture_gap(answered(planted, many), shares) > limit


@pytest.mark.parametrize("count", [1, 3, 130, 1000])
@pytest.mark.parametrize("weights", [(), (3, 1, 1), (0, 2, 1), (0.1, 0.1, 0.1)])
def test_each_member_has_its_share_of_the_paths(weights: tuple[float, ...], count: int) -> None:
    levels = {f"at{i}": Step(BTC, float(i)) for i in range(3)}
    forecaster = blend(BTC, levels, weights)
    paths = answered(forecaster, Prompt(START, "1h", "BTC", START - 60, 60, 3600, count))
    found = np.bincount(paths[-1].astype(int), minlength=3)
    exact = np.array(weights or (1, 1, 1)) / (sum(weights) or 3) * count
    assert found.sum() == count
    assert (np.abs(found - exact) < 1).all()
    assert found.tolist() == paths_of_each(forecaster.shares, count)


def test_the_paths_of_the_members_are_shuffled() -> None:
    from_first = answered(blend(BTC, {"a": Step(BTC, 1.0), "b": Step(BTC, 2.0)}))[-1] == 1
    changes = sum(a != b for a, b in pairwise(from_first))
    assert 400 < changes < 600


def test_equal_members_draw_from_streams_of_their_own() -> None:
    same = blend(BTC, {"one": RandomWalk(BTC, 0.01), "other": RandomWalk(BTC, 0.01)})
    assert len(np.unique(answered(same)[-1])) > 990
    alone = RandomWalk(BTC, 0.01).simulate(None, PROMPT, PROMPT.stream(1))
    assert len(np.intersect1d(alone[-1], answered(same)[-1])) < 10


def test_the_paths_of_a_member_do_not_depend_on_the_others() -> None:
    pair = answered(blend(BTC, {"walk": RandomWalk(BTC, 0.01), "at": Step(BTC, 5.0)}))
    other = answered(blend(BTC, {"at": Step(BTC, 7.0), "walk": RandomWalk(BTC, 0.01)}))
    np.testing.assert_array_equal(np.sort(pair[-1][pair[-1] != 5]), np.sort(other[-1][other[-1] != 7]))


def test_a_members_broken_paths_are_refused_by_its_name() -> None:
    with pytest.raises(ForecasterError, match=r"Growing\.simulate returned float32 \(61, 501\)"):
        answered(blend(BTC, {"walk": RandomWalk(BTC), "bad": Growing(BTC, 1.0)}))


# ------------------------------------------------------------------------------------------- members' promises


def test_the_warm_up_is_the_longest_of_a_member() -> None:
    members = {"short": Step(BTC, 1.0), "long": Step(BTC, 2.0, 9 * DAY), "silent": RandomWalk(BTC)}
    assert blend(BTC, members).warmup == 9 * DAY
    assert blend(BTC, {"short": Step(BTC, 1.0), "silent": RandomWalk(BTC)}).warmup == 5 * DAY


def test_members_with_a_rule_for_silence_age() -> None:
    forecaster = blend(BTC, {"ageing": Step(BTC, 1.0), "not": RandomWalk(BTC)})
    assert isinstance(forecaster, Ageing)
    assert forecaster.aged((3.0, None), 77) == (77.0, None)


def test_a_state_of_other_members_or_of_another_version_is_refused() -> None:
    one, other = two(), blend(BTC, {"wild": RandomWalk(BTC), "calm": RandomWalk(BTC)})
    data = one.dump_state((None, None))
    assert one.load_state(data) == (None, None)
    for forecaster, wrong in ((other, data), (one, data | {"version": 2}), (one, data | {"states": []}), (one, {})):
        with pytest.raises(ForecasterError, match="not a state of a blend of"):
            forecaster.load_state(wrong)
    with pytest.raises(ForecasterError, match="not a state of random-walk"):
        one.load_state(data | {"states": [{}, {}]})


def test_weights_that_are_no_shares_are_refused() -> None:
    for weights in ((1.0,), (1.0, -1.0), (0.0, 0.0), (math.nan, 1.0)):
        with pytest.raises(ForecasterError, match=r"give one weight >= 0 for each member"):
            two(*weights)


# --------------------------------------------------------------------------------------------------- learnt weights


def learning(*scales: float, weights: tuple[float, ...] = (), memory: int = 5 * DAY) -> Blend:
    """A blend of random walks with the bars' volatility times a scale each."""
    hourly = float(np.std(np.diff(np.log(BARS.close)))) * math.sqrt(60)
    walks = {f"walk{i}": RandomWalk(BTC, scale * hourly) for i, scale in enumerate(scales)}
    return blend(BTC, walks, weights, memory)


def after(forecaster: Blend, bars: Bars = BARS) -> Any:
    return forecaster.update(forecaster.initial_state(), bars)


@pytest.mark.parametrize("increment", [60, 300])
@pytest.mark.parametrize("place", [0, 1])
def test_a_member_that_is_clearly_better_takes_over(increment: int, place: int) -> None:
    forecaster = learning(*((1.0, 8.0) if place == 0 else (8.0, 1.0)))
    assert forecaster.shares_of(forecaster.initial_state(), increment) == (0.5, 0.5)
    assert forecaster.shares_of(after(forecaster), increment)[place] > 0.95
    prompt = Prompt(START, "1h", "BTC", START - 60, increment, 3600, 1000)
    hourly = forecaster.members[place].sigma_per_hour
    assert float(np.std(answered(forecaster, prompt)[-1])) == pytest.approx(hourly, rel=0.5)


def test_equal_members_keep_the_given_weights_exactly() -> None:
    same = learning(1.0, 1.0, weights=(3, 1))
    assert same.shares_of(after(same), 60) == same.shares == (0.75, 0.25)
    assert after(same)[-1].hours > 5


def test_a_weight_of_nothing_stays_nothing() -> None:
    forecaster = learning(1.0, 8.0, weights=(0, 1))
    assert forecaster.shares_of(after(forecaster), 60) == (0.0, 1.0)


@pytest.mark.parametrize("cuts", [(1, 59, 60, 61, 200), tuple(range(7, 600, 7)), (599,)])
def test_scores_have_the_same_bits_however_the_bars_are_divided(cuts: tuple[int, ...]) -> None:
    forecaster = learning(1.0, 2.0)
    kept = BARS.rows(0, 600) if len(cuts) > 3 else Bars.concatenate([BARS.rows(0, 150), BARS.rows(290, 600)])
    state = forecaster.initial_state()
    for a, b in pairwise((0, *(cut for cut in cuts if cut < len(kept)), len(kept))):
        state = forecaster.update(state, kept.rows(a, b))
        state = forecaster.load_state(json.loads(json.dumps(forecaster.dump_state(state))))  # a restart between calls
    assert forecaster.dump_state(state) == forecaster.dump_state(after(forecaster, kept))


def test_a_score_counts_only_when_its_hour_has_ended() -> None:
    """Planted: the bars of the newest hour are wild; until it ends they change no weight."""
    forecaster, whole = learning(1.0, 4.0), int(np.flatnonzero((BARS.timestamp + 60) % 3600 == 0)[-1]) + 1
    wild = np.array(BARS.close)
    wild[whole - 60 :] *= 1.05
    moved = Bars.from_closes(BARS.timestamp, wild)
    for count, same in ((whole - 1, True), (whole, False)):
        calm, shaken = (forecaster.shares_of(after(forecaster, bars.rows(0, count)), 60) for bars in (BARS, moved))
        assert (calm == shaken) is same


def test_old_scores_are_forgotten() -> None:
    long, short = (after(learning(1.0, 4.0, memory=memory))[-1] for memory in (900 * DAY, 3600))
    assert long.hours == pytest.approx(8, abs=1.1)
    assert 1.8 < short.hours < 2.0


def test_a_blend_that_learns_warms_up_for_its_memory_and_refuses_a_damaged_record() -> None:
    assert learning(1.0, memory=30 * DAY).warmup == 30 * DAY
    forecaster = learning(1.0, 2.0)
    data = forecaster.dump_state(after(forecaster))
    for damage in (None, {}, data["record"] | {"numbers": ["x"]}, data["record"] | {"states": [1, 2, 3]}):
        with pytest.raises(ForecasterError, match="blend: damaged record of its members' scores"):
            forecaster.load_state(data | {"record": damage})


def test_members_that_cannot_answer_yet_are_not_scored() -> None:
    broken = blend(BTC, {"walk": RandomWalk(BTC), "bad": Growing(BTC, 1.0)}, memory=DAY)
    assert after(broken)[-1].hours == 0


# ------------------------------------------------------------------------------------------------------ settings


def test_members_have_their_own_parameters_and_presets_and_weights_are_by_asset() -> None:
    chosen = settings(members=["ewma@seed", "random-walk"], weights={"default": [], "BTC": [3, 1]})
    made = [load_forecaster("blend", load_rulebook().asset(asset), chosen) for asset in ("BTC", "ETH")]
    assert [one.shares for one in made] == [(0.75, 0.25), (0.5, 0.5)]  # type: ignore[attr-defined]
    assert made[0].members[0].feedback == 1.0  # type: ignore[attr-defined]
    assert not isinstance(made[0], Fittable)


def test_presets_are_blends_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        "[presets.blend.calm]\nweights = [3, 1]\n[presets.blend.walks]\nmembers = ['ewma', 'random-walk']\n"
    )
    chosen = load_settings(file=file, environ={})
    calm, walks = (load_forecaster(f"blend@{preset}", BTC, chosen) for preset in ("calm", "walks"))
    assert (calm.names, calm.shares) == (("seasonal-har", "ewma"), (0.75, 0.25))  # type: ignore[attr-defined]
    assert (walks.names, walks.shares) == (("ewma", "random-walk"), (0.5, 0.5))  # type: ignore[attr-defined]
    assert prior_of("blend@calm", chosen) is not None
    assert prior_of("blend@walks", chosen) is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"members": ["ewma", "blend"]}, r"blend\.members = .*: the members of a blend are different forecasters"),
        ({"members": ["ewma", "blend@x"]}, "none of them is a blend"),
        ({"members": ["ewma", "ewma"]}, "different forecasters"),
        ({"members": []}, "at least 1 item"),
        ({"weights": [1, 2, 3]}, r"blend\.weights = .*: give one weight for each of the 2 members"),
        ({"weights": [0, 0]}, "not all 0"),
        ({"weights": {"default": [1, 1], "BTC": [1]}}, "one weight for each"),
        ({"weights": [-1, 2]}, "greater than or equal to 0"),
    ],
)
def test_impossible_blends_are_refused(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**flags)


def test_an_unknown_member_is_named() -> None:
    with pytest.raises(ForecasterError, match="unknown forecaster 'garch'"):
        load_forecaster("blend", BTC, settings(members=["ewma", "garch"]))


def test_what_shapes_a_member_shapes_the_digest_of_the_blend() -> None:
    base = settings()
    others = [
        base,
        base.with_flags({"ewma.feedback": 0.2}),
        base.with_flags({"blend.weights": [1, 2]}),
        base.with_flags({"blend.members": ["ewma", "seasonal-har"]}),
    ]
    assert len({Model.of("blend", BTC, one).parameters for one in others}) == 4
    same = base.with_flags({"random_walk.sigma_per_hour": 0.02})
    assert Model.of("blend", BTC, same).parameters == Model.of("blend", BTC, base).parameters


# ---------------------------------------------------------------------------------------------------------- fits


def test_members_have_their_priors_and_from_before_their_end_none() -> None:
    prior, own = prior_of("blend", settings()), prior_of("seasonal-har", settings())
    assert prior is not None
    assert own is not None
    assert prior.fit.numbers == {"seasonal-har": own.fit.numbers}
    assert prior.fit.end == own.fit.end
    model = load_model("blend", BTC, settings(), own.fit.end)
    alone = load_model("seasonal-har", BTC, settings(), own.fit.end)
    theirs, expected = model.forecaster.members[0].fitted, alone.forecaster.fitted  # type: ignore[attr-defined]
    np.testing.assert_array_equal(theirs.season.level, expected.season.level)
    assert theirs.shocks == expected.shocks
    assert load_model("blend", BTC, settings(), own.fit.end - 1).fit is None
    (early,) = fit_remarks("blend", settings(), load_rulebook(), {"BTC": "pyth"}, own.fit.end - 1)
    assert early.startswith("blend: not fitted, and the prior has seen bars up to")
    assert fit_remarks("blend", settings(), load_rulebook(), {"BTC": "pyth"}, own.fit.end)[0].startswith(
        "blend: no fit of its own: it uses the prior"
    )


def test_the_artifact_of_a_member_serves_in_the_blend() -> None:
    chosen = settings().with_flags({"fit.artifacts": [str(har.written())]})
    found = artifact_at("blend", chosen, START)
    assert found is not None
    assert found.fit.numbers == {"seasonal-har": artifact_at("seasonal-har", chosen, START).fit.numbers}  # type: ignore[union-attr]
    assert load_model("blend", BTC, chosen, START).fit == found.fit


def test_a_fit_of_other_members_is_refused() -> None:
    forecaster = load_forecaster("blend", BTC, settings())
    assert isinstance(forecaster, FittedBlend)
    for numbers in ({}, {"ewma": {}}, {"seasonal-har": har.numbers(), "other": {}}):
        with pytest.raises(ForecasterError, match="does not serve a blend of seasonal-har, ewma"):
            forecaster.with_fit(numbers)
    with pytest.raises(ForecasterError, match="the fit of BTC is damaged"):
        forecaster.with_fit({"seasonal-har": {}})
    with pytest.raises(MissingDataError):
        forecaster.fit({"BTC": BARS.rows(0, 3)}, {"BTC": BTC}, end=START)


def test_a_prompt_from_before_the_end_of_a_members_fit_is_refused() -> None:
    model = Model.of("blend", BTC, settings(), Fit(START + DAY, {"seasonal-har": har.numbers()}, "planted"))
    with pytest.raises(ForecasterError, match="refuses prompts from before the end of its fit"):
        model.paths(model.state_of(BARS), int(BARS.timestamp[-1]), PROMPT, 1)
