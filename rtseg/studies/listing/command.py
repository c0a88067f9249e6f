"""The command: one kind of registered thing as a table, for a terminal or between two comments of a page."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from rtseg.errors import UserError
from rtseg.output.folders import replace_between
from rtseg.output.table import Table
from rtseg.studies.listing import attentions, engines


class Listing(NamedTuple):
    """A kind: its name in the comments of its page, its table here, and that of the page."""

    comment: str
    table: Callable[[], Table]
    markdown: Callable[[], str]


LISTINGS: Mapping[str, Listing] = {
    "attentions": Listing("attention table", attentions.table, attentions.markdown),
    "backends": Listing("engine table", engines.table, engines.markdown),
}


def details(kind: str) -> Table:
    """What `rtseg list KIND --details` prints.

    Raises:
        UserError: a kind of which nothing but the names is known.
    """
    if kind not in LISTINGS:
        raise UserError(f"there are no details of {kind}; leave --details out, or list {' or '.join(LISTINGS)}")
    return LISTINGS[kind].table()


def refresh(kind: str, page: Path) -> None:
    """Writes a table into `page`, between its two comments.

    Raises:
        UserError: there is no such page, or the comments are not in it once each.
    """
    found = LISTINGS[kind]
    replace_between(page, f"<!-- {found.comment}: begin -->", f"<!-- {found.comment}: end -->", found.markdown())
