"""Addresses of miners on the chain."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from ewmalab.settings.schema import LiveSettings


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IP address and a port; equal however they were written.

    Examples
    --------
    >>> str(Endpoint.parse("[2001:DB8:0:0::7]:8091"))
    '[2001:db8::7]:8091'
    >>> Endpoint.parse("2001:db8::7:8091") is None
    True
    """

    ip: IPv4Address | IPv6Address
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint | None:
        """Return the endpoint of ``ip:port`` or ``[ip]:port``, None if the text has another form."""
        host, _, port = text.rpartition(":")
        try:
            ip = ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
            if isinstance(ip, IPv6Address) and not host.startswith("["):
                return None
            return cls(getattr(ip, "ipv4_mapped", None) or ip, int(port))
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if self.ip.version == 6 else f"{self.ip}:{self.port}"


def announced_endpoint(live: LiveSettings) -> Endpoint | None:
    """Return the endpoint to announce on the chain, None if the settings name no address."""
    if not live.external_ip:
        return None
    return Endpoint(ip_address(live.external_ip), live.external_port or live.port)
