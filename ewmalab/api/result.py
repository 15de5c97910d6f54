"""What every step returns: a result that prints itself, as a table for people, as JSON, or as a page."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ewmalab.report.pages.page import Report


class Result(ABC):
    """A result in three renderings of the same values.

    See Also
    --------
    ewmalab.report : the rendering itself
    """

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
        """Return the page, which `ewmalab.report.pages.page.write_reports` writes as HTML."""
        from ewmalab.report.pages.plain import plain_page

        return plain_page(re.sub("(?<=[a-z])(?=[A-Z])", " ", type(self).__name__).capitalize(), self.json())
