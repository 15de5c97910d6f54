"""The addresses of the validators that may call, in the forms that firewalls take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from ewmalab.live.miner.admission import Neuron, may_call
from ewmalab.live.miner.chain import min_stake_of
from ewmalab.rulebook import Rulebook, Rules
from ewmalab.settings.schema import LiveSettings

_PUBLISHED_FOR = "finney"


@dataclass(frozen=True, slots=True)
class Allowlist:
    """Whom a firewall should let in.

    Attributes
    ----------
    addresses : tuple of str
        Of the validators that may call, and those that the subnet has published; sorted.
    unknown : tuple of str
        Hotkeys of validators that may call and serve no axon, so that the chain does not tell their address.
    """

    addresses: tuple[str, ...]
    unknown: tuple[str, ...]


def allowlist(neurons: Iterable[Neuron], live: LiveSettings, rulebook: Rulebook, rules: Rules) -> Allowlist:
    """Return whom a firewall should let in."""
    allowed = [n for n in neurons if may_call(n, min_stake_of(live, rules), live.require_permit)]
    published = rulebook.validator_addresses if live.network == _PUBLISHED_FOR else ()
    unknown = sorted(n.hotkey for n in allowed if not n.ip)
    return Allowlist(tuple(sorted({*(n.ip for n in allowed if n.ip), *published})), tuple(unknown))


def _plain(four: Sequence[str], six: Sequence[str], port: int) -> list[str]:
    return sorted([*four, *six])


def _nft(four: Sequence[str], six: Sequence[str], port: int) -> list[str]:
    """Return a file for ``nft -f``, which is one transaction."""
    lines = ["table inet synth {"]
    lines += [f"    set validators{v} {{ type ipv{v}_addr; }}" for v in (4, 6)]
    lines += ["}"]
    for version, addresses in ((4, four), (6, six)):
        lines.append(f"flush set inet synth validators{version}")
        if addresses:
            lines.append(f"add element inet synth validators{version} {{ {', '.join(addresses)} }}")
    return lines


def _ipset(four: Sequence[str], six: Sequence[str], port: int) -> list[str]:
    """Return a file for ``ipset restore``; a filled set takes the place of the old one in one step."""
    lines = []
    for version, family, addresses in ((4, "inet", four), (6, "inet6", six)):
        name = f"ewmalab{version}"
        lines += [f"create -exist {each} hash:ip family {family}" for each in (name, f"{name}-new")]
        lines += [f"flush {name}-new", *(f"add {name}-new {address}" for address in addresses)]
        lines += [f"swap {name} {name}-new", f"destroy {name}-new"]
    return lines


def _ufw(four: Sequence[str], six: Sequence[str], port: int) -> list[str]:
    """Return a script for ``sh``; ufw has no sets, and leaves a rule that it has as it is."""
    return [f"ufw allow proto tcp from {a} to any port {port} comment ewmalab" for a in (*four, *six)]


_FORMATS: dict[str, Callable[[Sequence[str], Sequence[str], int], list[str]]] = {
    "plain": _plain,
    "nft": _nft,
    "ipset": _ipset,
    "ufw": _ufw,
}
FORMATS = tuple(_FORMATS)


def render(addresses: Iterable[str], form: str, port: int) -> str:
    """Return addresses in a firewall's form.

    Parameters
    ----------
    addresses : iterable of str
        IPv4 and IPv6.
    form : str
        One of `FORMATS`.
    port : int
        The miner's.
    """
    parsed = sorted({ip_address(text) for text in addresses}, key=lambda ip: (ip.version, int(ip)))
    four, six = ([str(ip) for ip in parsed if ip.version == version] for version in (4, 6))
    return "".join(f"{line}\n" for line in _FORMATS[form](four, six, port))
