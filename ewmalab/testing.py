"""For the tests of a plug-in: check a forecaster against its whole contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ewmalab.replay.contract import ContractReport, check_contract
from ewmalab.report.text.checks import contract_text
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.settings.layers import DEFAULTS

__all__ = ["check_forecaster"]


def check_forecaster(
    forecaster: str | Callable[..., Any],
    parameters: Mapping[str, Any] | None = None,
    *,
    asset: str = "BTC",
    settings: LoadedSettings | None = None,
) -> ContractReport:
    """Check all that a forecaster owes, on a small synthetic market; takes some seconds.

    Parameters
    ----------
    forecaster : str, class or function
        ``package.module:attribute``, or the object itself.
    parameters : mapping, optional
        Parameters of the forecaster, as in the settings' table ``[plugin]``.
    asset : str
    settings : LoadedSettings, optional
        By default those of the package alone, without files and environment.

    Raises
    ------
    AssertionError
        If a rule is broken: a line for each, with the method and what to do.
    """
    settings = settings or load_settings(file=DEFAULTS, environ={})
    given = settings.with_flags({f"plugin.{key}": value for key, value in (parameters or {}).items()})
    report = check_contract(forecaster, asset, given)
    if report.breaches:
        raise AssertionError(contract_text(report))
    return report
