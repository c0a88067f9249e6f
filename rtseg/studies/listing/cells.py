"""Cells of a listing that ask code which others wrote: an answer that fails costs its own cell and one sentence."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from rtseg.errors import described
from rtseg.output.table import MISSING

T = TypeVar("T")


class Cells(NamedTuple):
    """The cells of one row.

    Attributes:
        whose: the row, for the sentences: "attention 'mean'".
        failures: gets one sentence for each answer that failed.
    """

    whose: str
    failures: list[str]

    def ask(self, what: str, answer: Callable[[], T]) -> T | None:
        """The answer; None where it fails.

        Args:
            what: is asked, for the sentence: "cost".
        """
        try:
            return answer()
        except Exception as error:  # whatever a plug-in raises
            self.failures.append(f"{self.whose}, {what}: {described(error)}")
            return None

    def text(self, what: str, answer: Callable[[], str]) -> str:
        """The answer as a cell; a dash where it is empty or fails."""
        return str(self.ask(what, answer) or MISSING)
