"""What a section of the report is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from ..data import ReportData


class Section(ABC):
    """One figure or table of the report, or a few lines.

    Sections that follow one another and have the same :attr:`heading` stand below one heading.
    """

    heading: ClassVar[str] = ""
    """Plain text; empty for none."""

    @abstractmethod
    def html(self, data: ReportData) -> str:
        """The section as HTML; empty where there is nothing to show.

        It may load nothing. What others wrote, such as names and reasons, must be escaped
        (:func:`netwright.report.html.escape`).
        """
