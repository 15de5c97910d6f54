"""The stock axon of bittensor 10 answering prompts with paths made in advance: the rival of our own server.

Arguments: port, seed phrase of the miner's hotkey. Prints a line when it serves; ends with its input. (bittensor reads
annotations as classes: they must not be postponed.)
"""

import sys
from typing import Optional, Union

import bittensor as bt
import numpy as np
from bittensor.utils import networking
from pydantic import BaseModel

networking.get_external_ip = lambda: "127.0.0.1"  # the real one asks the internet


class SimulationInput(BaseModel):
    """What is asked."""

    asset: str = ""  # headers repeat the object without its values
    start_time: str = ""
    time_increment: int = 0
    time_length: int = 0
    num_simulations: int = 0


class Simulation(bt.Synapse):
    """The subnet's request and answer."""

    simulation_input: SimulationInput
    simulation_output: Optional[tuple[Union[list[float], int], ...]] = None  # noqa: UP007, UP045


def main() -> None:
    """Serve until the input ends."""
    port, mnemonic = int(sys.argv[1]), sys.argv[2]
    keypair = bt.Keypair.create_from_mnemonic(mnemonic)

    class Wallet:
        hotkey = keypair
        coldkeypub = keypair

    steps = np.random.default_rng(1).standard_normal((1000, 288)) * 1e-3
    paths = np.round(100 * np.exp(np.cumsum(np.pad(steps, ((0, 0), (1, 0))), axis=1)), 5).tolist()

    async def forward(synapse: Simulation) -> Simulation:
        synapse.simulation_output = (0, synapse.simulation_input.time_increment, *paths)
        return synapse

    axon = bt.Axon(wallet=Wallet(), port=port, ip="127.0.0.1", external_ip="127.0.0.1", external_port=port)
    axon.attach(forward_fn=forward)
    axon.fast_server.config.host = "127.0.0.1"
    axon.start()
    print("serving", flush=True)
    sys.stdin.read()
    axon.stop()


if __name__ == "__main__":
    main()
