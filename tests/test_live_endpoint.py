"""The address that a miner announces: written in any form, announced once, reachable."""

from __future__ import annotations

import threading
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bittensor.metagraph as metagraph
import pytest

from ewmalab.errors import ChainError, ConfigError
from ewmalab.live.alarms import Problem
from ewmalab.live.audit.answer_log import AnswerLog
from ewmalab.live.miner.admission import Neuron
from ewmalab.live.miner.endpoint import Endpoint, announced_endpoint
from ewmalab.live.miner.health import Health
from ewmalab.live.miner.miner import Miner
from ewmalab.settings import load_settings
from ewmalab.settings.schema import LiveSettings


def live(**values: Any) -> LiveSettings:
    return load_settings(environ={}, flags={f"live.{key}": value for key, value in values.items()}).values.live


SAME = [
    ("203.0.113.7", "203.0.113.7:8091"),
    ("::ffff:203.0.113.7", "203.0.113.7:8091"),
    ("2001:db8::7", "[2001:db8::7]:8091"),
    ("2001:DB8:0:0:0:0:0:7", "[2001:db8::7]:8091"),
    ("[2001:db8::7]", "[2001:db8::7]:8091"),
]


def chain_form(text: str, form: type) -> dict[str, Any]:
    address = Endpoint.parse(text)
    assert address is not None
    return {"ip": form(int(address.ip)), "port": form(address.port), "ip_type": address.ip.version}


@pytest.mark.parametrize("form", [int, str])
@pytest.mark.parametrize(("external_ip", "written"), SAME)
def test_setting_equals_what_the_chain_tells_of_it(external_ip: str, written: str, form: type) -> None:
    wanted = announced_endpoint(live(external_ip=external_ip))
    told = metagraph._axon_endpoint(chain_form(written, form))
    assert wanted == Endpoint.parse(str(told))
    assert str(wanted) == written
    assert Neuron("5x", 1, 0.0, False, str(told)).ip == str(ip_address(str(wanted.ip)))  # type: ignore[union-attr]


def announcing(
    external_ip: str, told: str, folder: Path, failures: int = 0, **values: Any
) -> tuple[list[Any], list[str]]:
    """Run a miner's announcement; return its calls of the chain and what health says of the chain's answer."""
    settings = live(external_ip=external_ip, **values)
    calls: list[Any] = []

    def announce(ip: str, port: int) -> None:
        calls.append((ip, port))
        if len(calls) <= failures:
            raise ChainError("too soon")

    neuron = Neuron("5x", 1, 0.0, False, told)
    directory = SimpleNamespace(neurons=lambda: {"5x": neuron}, age=lambda: 1.0, error="")
    loaded = SimpleNamespace(values=SimpleNamespace(live=settings))
    stop = threading.Event()
    waits = SimpleNamespace(wait=lambda _: stop.is_set(), set=stop.set)
    miner = object.__new__(Miner)
    miner.__dict__.update(
        settings=loaded, stop=waits, directory=directory, hotkey="5x", chain=SimpleNamespace(announce=announce)
    )
    miner._announce()
    problems: list[Problem] = []
    answerer: Any = SimpleNamespace(settings=loaded)
    Health(answerer, directory, AnswerLog(folder, False), "5x")._chain(problems)  # type: ignore[arg-type]
    return calls, [problem.text for problem in problems]


@pytest.mark.parametrize(("external_ip", "told"), SAME)
def test_miner_that_the_chain_knows_is_healthy_and_does_not_announce_itself(
    external_ip: str, told: str, tmp_path: Path
) -> None:
    assert announcing(external_ip, told, tmp_path) == ([], [])


@pytest.mark.parametrize("told", ["", "203.0.113.8:8091", "203.0.113.7:8092", "[2001:db8::7]:8091"])
def test_miner_that_the_chain_knows_otherwise_announces_itself_once(told: str, tmp_path: Path) -> None:
    calls, problems = announcing("203.0.113.7", told, tmp_path)
    assert calls == [("203.0.113.7", 8091)]
    assert problems == [f"our axon on the chain is {told or 'not announced'}"]


def test_refused_announcement_is_repeated(tmp_path: Path) -> None:
    assert len(announcing("2001:db8::7", "", tmp_path, failures=2)[0]) == 3


def test_announced_port_may_differ_from_the_port_served_on(tmp_path: Path) -> None:
    assert announcing("203.0.113.7", "203.0.113.7:80", tmp_path, external_port=80) == ([], [])
    assert announcing("203.0.113.7", "", tmp_path, external_port=80)[0] == [("203.0.113.7", 80)]


def test_ipv6_address_without_an_ipv6_listener_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    announcing("2001:db8::7", "[2001:db8::7]:8091", tmp_path)
    assert "--host ::" in caplog.text
    caplog.clear()
    announcing("2001:db8::7", "[2001:db8::7]:8091", tmp_path, host="::")
    assert not caplog.text


@pytest.mark.parametrize("text", ["", "8091", ":8091", "203.0.113.7", "203.0.113.7:", "203.0.113.7:x", "host:8091",
                                  "2001:db8::7:8091", "[2001:db8::7]", "[203.0.113.7:8091"])  # fmt: skip
def test_other_texts_are_no_endpoint(text: str) -> None:
    assert Endpoint.parse(text) is None


@pytest.mark.parametrize("value", ["my.host.example", "203.0.113.7:8091", "[2001:db8::7]:8091", "203.0.113", "x"])
def test_names_and_ports_are_refused_as_an_address(value: str) -> None:
    with pytest.raises(ConfigError, match="neither names nor ports") as caught:
        live(external_ip=value)
    assert "live.external_ip" in str(caught.value)


@pytest.mark.parametrize("value", ["0.0.0.0", "::", "127.0.0.1", "::1", "224.0.0.1", "169.254.1.1", "10.0.0.7",
                                   "192.168.1.7", "172.16.0.1", "100.64.0.1", "fd00::7", "::ffff:10.0.0.7",
                                   "255.255.255.255"])  # fmt: skip
def test_addresses_that_no_validator_can_reach_are_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="cannot reach this address"):
        live(external_ip=value)


def test_private_address_is_good_on_a_chain_of_ones_own() -> None:
    assert live(external_ip="10.0.0.7", network="ws://10.0.0.1:9944", netuid=1).external_ip == "10.0.0.7"
    with pytest.raises(ConfigError, match="cannot reach"):
        live(external_ip="127.0.0.1", network="ws://10.0.0.1:9944", netuid=1)
