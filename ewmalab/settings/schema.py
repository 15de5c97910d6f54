"""The schema of the settings: sections, types and limits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, SecretStr, ValidationInfo
from pydantic.functional_validators import AfterValidator, field_validator

from ewmalab.units import format_duration, parse_duration

MASK = "********"
SECRETS = (
    ("feeds", "pyth", "api_key"),
    *(("live", "alerts", name) for name in ("webhook", "slack", "discord", "telegram")),
)
"""Keys of the settings that are never shown or written."""


def _number(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"\s*[\d.]+\s*[a-zA-Z]+\s*", value):
        raise ValueError("this setting must be a number without a unit")
    return value


def _per_asset(value: object) -> object:
    """Return a per-asset table: one value becomes the default, and symbols are accepted in any case."""
    if not isinstance(value, Mapping):
        return {"default": value}
    table = {("default" if str(k).lower() == "default" else str(k).upper()): v for k, v in value.items()}
    if "default" not in table:
        raise ValueError('a per-asset table needs a "default"')
    return table


def _plugin_tables(table: dict[str, Any]) -> dict[str, Any]:
    """Normalise the per-asset tables of a plug-in, which are those with a default."""
    return {
        name: _per_asset(value) if isinstance(value, Mapping) and "default" in map(str.lower, value) else value
        for name, value in table.items()
    }


T = TypeVar("T")
Duration = Annotated[int, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
HalfLife = Annotated[Duration, Field(ge=60, le=90 * 86_400)]
Nu = Annotated[float, BeforeValidator(_number), Field(gt=2, le=1000)]
PerAsset = Annotated[dict[str, T], BeforeValidator(_per_asset)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Share = Annotated[Number, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
FeedName = Literal["pyth", "binance", "hyperliquid", "file", "simulated"]


def _listed(value: object) -> object:
    """Accept names as a text with commas between them."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


def _host(value: str) -> str:
    if not re.match(r"https?://[^/]+", value):
        raise ValueError("a host must start with http:// or https://")
    return value.rstrip("/")


Host = Annotated[str, AfterValidator(_host)]


def _folder(value: object) -> Path:
    """Return a path; an empty text would be the working directory."""
    if not str(value).strip():
        raise ValueError("name a folder")
    return Path(str(value))


def _location(value: object) -> object:
    """Return a URL as text, anything else as a path; a path would lose one of the URL's slashes."""
    return value if isinstance(value, str) and "://" in value else _folder(value)


Folder = Annotated[Path, BeforeValidator(_folder)]
Location = Annotated[Path | str, BeforeValidator(_location)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_is_true(cls, value: object, info: ValidationInfo) -> object:
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation in (int, float):
            raise ValueError("a number is neither true nor false")
        return value


class RunSettings(_Section):
    """Settings of every command."""

    seed: Seed
    threads: Annotated[int, Field(ge=0, le=1024)]
    experiments_dir: Folder


class DataSettings(_Section):
    """The cache and the feeds of bars."""

    cache_dir: Location
    feed: FeedName
    scored_feed: Literal["pyth", "binance", "hyperliquid", "file", "simulated", ""]


class PythSettings(_Section):
    """Pyth Pro, or any server with the same format."""

    host: Host
    path: str
    spot_host: Host
    hermes_host: Host
    api_key: SecretStr


class HostSettings(_Section):
    """A feed that needs no key."""

    host: Host


class FileSettings(_Section):
    """Bars in files, one per asset."""

    folder: str


class SimulatedSettings(_Section):
    """The synthetic market."""

    seed: Seed
    gaps: Annotated[Number, Field(ge=0, le=0.5)]


class FeedSettings(_Section):
    """One table per feed."""

    pyth: PythSettings
    binance: HostSettings
    hyperliquid: HostSettings
    file: FileSettings
    simulated: SimulatedSettings


class FieldSettings(_Section):
    """The subnet's public API, from which the real field of miners is fetched."""

    api: Host
    monitoring: Host
    rate: Annotated[Number, Field(gt=0, le=100)]


class ReplaySettings(_Section):
    """The replay of prompts."""

    forecasters: Annotated[Names, Field(min_length=1)]
    request_lead: Annotated[Duration, Field(ge=0, le=3600)]
    warmup: PerAsset[Annotated[Duration, Field(ge=0, le=90 * 86_400)]]


class EwmaSettings(_Section):
    """Parameters and options of the forecaster ``ewma``; see `ewmalab.forecast.ewma.forecaster.Ewma`."""

    half_life_1m: PerAsset[HalfLife]
    half_life_5m: PerAsset[Annotated[HalfLife, Field(ge=300)]]
    nu_1m: PerAsset[Nu]
    nu_5m: PerAsset[Nu]
    variance_mixing_alpha: PerAsset[Share]
    variance_floor: Annotated[Number, Field(gt=0, le=1e-4)]
    close_only: Literal["squared_return", "synthesise"]
    start: Literal["expanding_mean", "constant"]
    initial_variance: PerAsset[Annotated[Number, Field(gt=0, le=1)]]
    gap_policy: Literal["hold", "revert", "decay"]
    gap_half_life: HalfLife
    long_run_half_life: HalfLife
    feedback: PerAsset[Share]
    off_hours: Literal["session", "whole_path", "none"]
    equity_off_hours_mult: PerAsset[Annotated[Number, Field(gt=0, le=10)]]
    draws: Literal["stratified", "independent"]


class RandomWalkSettings(_Section):
    """Parameters of the forecaster ``random-walk``."""

    sigma_per_hour: PerAsset[Annotated[Number, Field(ge=0, lt=0.1)]]


class SeasonalHarSettings(_Section):
    """Parameters of the forecaster ``seasonal-har``."""

    volatility_scale: PerAsset[Annotated[Number, Field(gt=0, le=10)]]
    shocks: Literal["waves", "windows"]


def _members(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names) or any(name.partition("@")[0] == "blend" for name in names):
        raise ValueError("the members of a blend are different forecasters, and none of them is a blend")
    return names


def _weights(table: dict[str, tuple[float, ...]], others: ValidationInfo) -> dict[str, tuple[float, ...]]:
    members = others.data.get("members")
    for weights in table.values():
        if weights and members is not None and (len(weights) != len(members) or not sum(weights) > 0):
            raise ValueError(f"give one weight for each of the {len(members)} members, not all 0, or [] for equal ones")
    return table


class BlendSettings(_Section):
    """Parameters of the forecaster ``blend``; see `ewmalab.forecast.blend.blend`."""

    members: Annotated[Names, Field(min_length=1), AfterValidator(_members)]
    weights: Annotated[PerAsset[tuple[Annotated[Number, Field(ge=0)], ...]], AfterValidator(_weights)]
    memory: Annotated[Duration, Field(ge=0, le=90 * 86_400)]


class FitSettings(_Section):
    """Fits of forecasters."""

    artifacts: Names
    every: Annotated[Duration, Field(ge=0, le=90 * 86_400)]
    history: Annotated[Duration, Field(ge=8 * 86_400, le=4000 * 86_400)]
    assets: Names
    folder: str
    prior: str


Port = Annotated[int, Field(ge=0, le=65_535)]
_PUBLIC_NETWORKS = ("finney", "test")
_LOCAL = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "240.0.0.0/4", "fc00::/7")


def _external_ip(value: str, others: ValidationInfo) -> str:
    """Return an address to announce in its usual form."""
    if not value.strip():
        return ""
    try:
        address = ip_address(value.strip().removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(
            "the chain keeps IP addresses, neither names nor ports: give an address such as 203.0.113.7 or "
            "2001:db8::7, and the port with live.external_port"
        ) from None
    address = getattr(address, "ipv4_mapped", None) or address
    nowhere = address.is_unspecified or address.is_multicast or address.is_loopback or address.is_link_local
    local = any(address in ip_network(net) for net in _LOCAL)
    if nowhere or (local and others.data.get("network") in _PUBLIC_NETWORKS):
        raise ValueError("validators cannot reach this address: give the public one of this machine or its router")
    return str(address)


_OF_A_MINER = (
    "wallet",
    "hotkey",
    "hotkey_password_file",
    "host",
    "port",
    "monitor_port",
    "external_ip",
    "external_port",
)


def _miners(table: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    for name, values in table.items():
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
            raise ValueError(f"{name!r}: a miner's name has lower-case letters, digits and hyphens")
        for key in values.keys() - set(_OF_A_MINER):
            raise ValueError(f"{name}.{key}: a miner of its own may set {', '.join(_OF_A_MINER)}")
    return table


KeepTime = Annotated[Duration, Field(ge=0, le=4000 * 86_400)]
PollInterval = Annotated[Duration, Field(ge=1, le=3600)]


def _hook(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if value.get_secret_value() and not (parts.scheme in ("http", "https") and parts.hostname):
        raise ValueError("expected an address such as https://example.org/hook")
    return value


Hook = Annotated[SecretStr, AfterValidator(_hook)]


class AlertSettings(_Section):
    """Where alarms are sent, and when."""

    webhook: Hook
    slack: Hook
    discord: Hook
    telegram: Hook
    repeat_after: Annotated[Duration, Field(ge=60, le=7 * 86_400)]
    quiet_after: Annotated[Duration, Field(ge=60, le=7 * 86_400)]
    asset_quiet_after: Annotated[Duration, Field(ge=60, le=7 * 86_400)]


class LiveSettings(_Section):
    """Updater and miner."""

    forecaster: str
    assets: Names
    feed: Literal["auto", "pyth", "binance", "hyperliquid", "simulated"]
    state_dir: Folder
    log_dir: Folder
    keep_paths: bool
    gzip: Literal["auto", "always", "never"]
    keep_answers_for: KeepTime
    keep_paths_for: KeepTime
    keep_quarantine_for: KeepTime
    log_limit: Annotated[Number, Field(ge=0)]
    message_files: Annotated[int, Field(ge=0, le=1000)]
    update_interval: PollInterval
    refetch: Annotated[Duration, Field(ge=60, le=86_400)]
    stale_after: Annotated[Duration, Field(ge=120, le=86_400)]
    refuse_after: Annotated[Duration, Field(ge=180, le=7 * 86_400)]
    spot_interval: PollInterval
    spot_max_age: Annotated[Duration, Field(ge=1, le=3600)]
    host: str
    port: Port
    monitor_host: str
    monitor_port: Port
    network: str
    netuid: Annotated[int, Field(ge=0)]
    external_ip: Annotated[str, AfterValidator(_external_ip)]
    external_port: Port
    wallet: str
    hotkey: str
    wallet_path: str
    hotkey_password_file: str
    miner: str
    miners: Annotated[dict[str, dict[str, Any]], AfterValidator(_miners)]
    chain: bool
    allow: Names
    chain_refresh: Annotated[Duration, Field(ge=12, le=86_400)]
    min_stake: Annotated[Number, Field(ge=-1)]
    require_permit: bool
    clock: str
    alerts: AlertSettings


class Settings(_Section):
    """All settings, validated and frozen."""

    run: RunSettings
    data: DataSettings
    feeds: FeedSettings
    field: FieldSettings
    replay: ReplaySettings
    ewma: EwmaSettings
    random_walk: RandomWalkSettings
    seasonal_har: SeasonalHarSettings
    blend: BlendSettings
    fit: FitSettings
    live: LiveSettings
    plugin: Annotated[dict[str, Any], AfterValidator(_plugin_tables)]
    presets: dict[str, dict[str, dict[str, Any]]]

    def plain(self) -> dict[str, Any]:
        """Return a plain dict, with secrets masked, as in a settings file."""
        data = self.model_dump(mode="json")
        for *sections, name in SECRETS:
            table, own = data, self
            for section in sections:
                table, own = table[section], getattr(own, section)
            table[name] = MASK if getattr(own, name).get_secret_value() else ""
        return data

    def digest(self) -> str:
        """Return the SHA-256 of the settings without secrets."""
        return hashlib.sha256(orjson.dumps(self.plain(), option=orjson.OPT_SORT_KEYS)).hexdigest()


def asset_value(table: Mapping[str, T], asset: str) -> T:
    """Return an asset's entry in a per-asset setting, else the default."""
    return table.get(asset, table["default"])


def asset_parameters(section: BaseModel | Mapping[str, Any], asset: str) -> dict[str, Any]:
    """Return a section's values for one asset; each per-asset table is replaced by the asset's entry."""
    items = section.items() if isinstance(section, Mapping) else iter(section)
    return {k: asset_value(v, asset) if isinstance(v, dict) and "default" in v else v for k, v in items}
