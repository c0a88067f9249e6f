"""`rtseg list KIND --details`, and the same tables between two comments of a page in docs/."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from rtseg.errors import UserError
from rtseg.output.folders import replace_between
from rtseg.output.table import Table


class Listing(NamedTuple):
    """How one kind is listed.

    Attributes:
        comment: what the comments around the table in its page are called.
        module: imported when it is asked: attentions need torch. Its `table(failures)` makes the table for a terminal,
            and adds a sentence to the list for each cell that failed; its `markdown()` makes the table for the page.
    """

    comment: str
    module: str

    def load(self) -> ModuleType:
        """The module."""
        return importlib.import_module(self.module)


LISTINGS: Mapping[str, Listing] = {
    "attentions": Listing("attention table", "rtseg.studies.listing.attentions"),
    "backends": Listing("engine table", "rtseg.studies.listing.engines"),
    "weights": Listing("weights table", "rtseg.studies.listing.weights"),
}


def details(kind: str) -> tuple[Table, list[str]]:
    """The table that `rtseg list KIND --details` prints, and a sentence for each of its cells that failed.

    Raises:
        UserError: a kind of which only the names are known.
    """
    if kind not in LISTINGS:
        raise UserError(f"there are no details of {kind}; leave --details out, or list one of {', '.join(LISTINGS)}")
    failures: list[str] = []
    return LISTINGS[kind].load().table(failures), failures


def refresh(kind: str, page: Path) -> None:
    """Writes a table into `page`, between its two comments.

    Raises:
        UserError: there is no such page, or the comments are not in it once each.
    """
    listing = LISTINGS[kind]
    replace_between(
        page, f"<!-- {listing.comment}: begin -->", f"<!-- {listing.comment}: end -->", listing.load().markdown()
    )
