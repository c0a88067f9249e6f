"""`rtseg list KIND --details`, and the same tables between two comments of a page in docs/."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from rtseg.errors import UserError
from rtseg.output.folders import replace_between
from rtseg.output.table import Table
from rtseg.studies.listing import attentions, engines


class Listing(NamedTuple):
    """How one kind is listed.

    Attributes:
        comment: what the comments around the table in its page are called.
        table: makes the table for a terminal, and adds a sentence to the list for each cell that failed.
        markdown: makes the table for the page.
    """

    comment: str
    table: Callable[[list[str]], Table]
    markdown: Callable[[], str]


LISTINGS: Mapping[str, Listing] = {
    "attentions": Listing("attention table", attentions.table, attentions.markdown),
    "backends": Listing("engine table", engines.table, engines.markdown),
}


def details(kind: str) -> tuple[Table, list[str]]:
    """The table that `rtseg list KIND --details` prints, and a sentence for each of its cells that failed.

    Raises:
        UserError: a kind of which only the names are known.
    """
    if kind not in LISTINGS:
        raise UserError(f"there are no details of {kind}; leave --details out, or list {' or '.join(LISTINGS)}")
    failures: list[str] = []
    return LISTINGS[kind].table(failures), failures


def refresh(kind: str, page: Path) -> None:
    """Writes a table into `page`, between its two comments.

    Raises:
        UserError: there is no such page, or the comments are not in it once each.
    """
    listing = LISTINGS[kind]
    replace_between(page, f"<!-- {listing.comment}: begin -->", f"<!-- {listing.comment}: end -->", listing.markdown())
