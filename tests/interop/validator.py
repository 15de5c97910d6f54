"""A validator's client: a real bittensor 10 dendrite, in an environment of its own.

Reads one JSON object a line from standard input (a prompt, or ``null`` to end), asks the miner, judges the answers, and
at the end writes one JSON object a line. Arguments: host, port, the miner's hotkey, and the mnemonic of our own.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Optional, Union

import bittensor as bt
from bittensor.utils import networking
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for the validator's verdict, which needs numpy alone

from ewmalab.scoring.validation import validate_response

networking.get_external_ip = lambda: "127.0.0.1"  # the real one asks the internet

FORMATS = ("digits8_text", "float32_8sig")
DENDRITES = 8


class SimulationInput(BaseModel):
    """What is asked."""

    asset: str
    start_time: str
    time_increment: int
    time_length: int
    num_simulations: int


class Simulation(bt.Synapse):
    """The subnet's request and answer."""

    simulation_input: SimulationInput
    simulation_output: Optional[tuple[Union[list[float], int], ...]] = None  # noqa: UP007, UP045

    def deserialize(self):
        """Return the answer."""
        return self.simulation_output


async def ask(dendrite, axon, prompt: dict, folder: Path, number: int) -> dict:
    """Ask one prompt and keep the answer; judged at once, it would take the processor from the miner."""
    asked = {name: prompt[name] for name in SimulationInput.model_fields}
    reply = await dendrite.forward(
        axons=[axon], synapse=Simulation(simulation_input=SimulationInput(**asked)), deserialize=False, timeout=20.0
    )
    synapse = reply[0]
    kept = folder / f"{number}.pickle"
    kept.write_bytes(pickle.dumps(synapse.simulation_output))
    told = synapse.dendrite
    return {**prompt, "status": told.status_code, "message": told.status_message,
            "process_time": told.process_time, "kept": str(kept)}  # fmt: skip


def judge(result: dict) -> dict:
    """Return the validator's verdict on a kept answer, under the format rule of every date."""
    if "kept" not in result:
        return result
    output = pickle.loads(Path(result.pop("kept")).read_bytes())
    verdicts = {
        name: validate_response(
            list(output) if output is not None else None,
            start_time=result["start"], time_increment=result["time_increment"], time_length=result["time_length"],
            num_simulations=result["num_simulations"], response_format=name, process_time=result["process_time"],
        )
        for name in FORMATS
    }  # fmt: skip
    return {**result, "verdicts": verdicts}


async def main() -> None:
    """Answer lines until ``null`` or the end of the input."""
    host, port, hotkey, mnemonic = sys.argv[1:5]
    keypair = bt.Keypair.create_from_mnemonic(mnemonic)
    axon = bt.AxonInfo(version=1, ip=host, port=int(port), ip_type=4, hotkey=hotkey, coldkey=hotkey)
    free = asyncio.Queue()
    for _ in range(DENDRITES):  # each has a process id of its own: nonces of one must grow
        free.put_nowait(bt.Dendrite(wallet=keypair))
    loop = asyncio.get_running_loop()
    running = set()

    results = []
    folder = Path(tempfile.mkdtemp())

    async def one(prompt: dict, number: int) -> None:
        dendrite = await free.get()
        try:
            result = await ask(dendrite, axon, prompt, folder, number)
        except Exception as error:  # noqa: BLE001  reported to who reads our output
            result = {**prompt, "error": repr(error)}
        finally:
            free.put_nowait(dendrite)
        results.append(result)

    print(json.dumps({"ready": bt.__version__}), flush=True)
    number = 0
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        prompt = json.loads(line) if line else None
        if prompt is None:
            break
        number += 1
        task = asyncio.create_task(one(prompt, number))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    while not free.empty():
        await free.get_nowait().aclose_session()
    with ProcessPoolExecutor() as pool:
        for result in pool.map(judge, results, chunksize=4):
            print(json.dumps(result), flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    asyncio.run(main())
