"""The result of every step, with its renderings: a table for people, JSON, or a page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from ewmalab.report.pages.page import Report

Value = TypeVar("Value")


class Result(ABC):
    """A result with three renderings of the same values, made by `ewmalab.report`."""

    @property
    def title(self) -> str:
        """Return the title of the result's page."""
        return type(self).__name__

    @property
    def notes(self) -> tuple[str, ...]:
        """Return warnings and remarks that accompany the result."""
        return ()

    @property
    def ok(self) -> bool:
        """Return whether all is well; if not, a command ends with exit code 1."""
        return True

    @abstractmethod
    def text(self) -> str:
        """Return tables for people, as the command prints them."""

    @abstractmethod
    def json(self) -> Any:
        """Return plain data, as the command prints it with ``--json``."""

    def page(self) -> Report:
        """Return the page, which `write_report` writes as HTML."""
        from ewmalab.report.pages.plain import plain_page

        return plain_page(self.title, self.json())


@dataclass(frozen=True)
class Outcome(Result, Generic[Value]):
    """A result that holds one value.

    Attributes
    ----------
    kind : str
        Title of its page.
    value : object
        The value itself.
    as_text, as_json : callable
        Renderings of the value.
    """

    kind: str
    value: Value
    as_text: Callable[[Value], str] = field(repr=False)
    as_json: Callable[[Value], Any] = field(repr=False)
    ok: bool = True
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return self.kind

    def text(self) -> str:
        return self.as_text(self.value)

    def json(self) -> Any:
        return self.as_json(self.value)
