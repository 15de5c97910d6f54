"""A real validator's client against our server: bittensor 10, in the environment that `make interop` makes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from live_rig import MINER, rig

from ewmalab.live.miner.chain import AllowList
from ewmalab.rulebook import load_rulebook
from ewmalab.times import iso

pytestmark = pytest.mark.ci

ROOT = Path(__file__).resolve().parents[1]
PYTHON = Path(os.environ.get("EWMALAB_INTEROP") or ROOT / ".venv-interop/bin/python")
MNEMONIC = "bottom drive obey lake curtain smoke basket hold race lonely fit walk"  # of the public development keys


@pytest.fixture(scope="module")
def interop() -> Path:
    if not PYTHON.exists():
        pytest.skip(f"no environment with bittensor 10 at {PYTHON}: `make interop` makes it")
    return PYTHON


def test_a_real_dendrite_accepts_an_answer_of_every_competition(interop, tmp_path):
    from bittensor import sp_core

    key = sp_core.Keypair.create_from_mnemonic(MNEMONIC)
    with rig(tmp_path, assets=("BTC", "XAU"), chain=AllowList([key.ss58_address])) as running:
        start = int(running.clock.now()) // 60 * 60 + 300
        lines = []
        for competition in load_rulebook().at(start).competitions.values():
            asset = "XAU" if competition.name.startswith("com") else "BTC"
            lines.append(
                {
                    "competition": competition.name, "asset": asset, "start": start,
                    "start_time": iso(start).replace("Z", "+00:00"), "time_increment": competition.time_increment,
                    "time_length": competition.time_length, "num_simulations": competition.num_simulations,
                }
            )  # fmt: skip
        sent = "".join(json.dumps(line) + "\n" for line in [*lines, None])
        command = [str(interop), str(ROOT / "tests/interop/validator.py"), "127.0.0.1", str(running.miner.port)]
        command += [MINER.ss58_address, MNEMONIC]
        quiet = {**os.environ, "BT_NO_PARSE_CLI_ARGS": "1"}
        done = subprocess.run(
            command, input=sent, capture_output=True, text=True, timeout=600, check=True, env=quiet
        )  # fmt: skip
    ready, *replies = map(json.loads, done.stdout.splitlines())
    assert ready["ready"].startswith("10.")
    assert len(replies) == len(lines)
    for reply in replies:
        assert reply["status"] == 200, reply
        assert set(reply["verdicts"].values()) == {"CORRECT"}
