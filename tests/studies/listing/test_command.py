"""Details of what is registered, for a terminal of any width."""

import pytest

from rtseg.errors import UserError
from rtseg.studies.listing import details
from rtseg.studies.listing.command import LISTINGS
from tests.helpers.tables import check_whole


@pytest.mark.parametrize("kind", LISTINGS)
@pytest.mark.parametrize("width", [80, 120])
def test_no_cell_is_wrapped_or_cut(kind: str, width: int) -> None:
    check_whole(details(kind)[0], width)


def test_kinds_without_details_are_told() -> None:
    with pytest.raises(
        UserError, match="no details of datasets; leave --details out, or list one of attentions, backends, weights"
    ):
        details("datasets")
