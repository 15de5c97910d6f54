"""What every step returns: a result that prints itself, as a table for people, as JSON, or as a page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from ewmalab.report.pages.page import Report

Value = TypeVar("Value")


class Result(ABC):
    """A result in three renderings of the same values; `ewmalab.report` does the rendering."""

    @property
    def title(self) -> str:
        """Return what the result is called on a page."""
        return type(self).__name__

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a user should know beside the result."""
        return ()

    @property
    def ok(self) -> bool:
        """Return whether all was well; a command ends with exit code 1 if not."""
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
    """A result that is one value of the room that computed it.

    Attributes
    ----------
    kind : str
        The title of its page.
    value : object
        What was found.
    as_text, as_json : callable
        Its renderings.
    ok : bool
    notes : tuple of str
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
