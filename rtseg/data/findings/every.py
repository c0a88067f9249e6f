"""All kinds of faults, in the order in which they are told."""

from collections.abc import Callable, Iterator

from rtseg.data.findings.blended import blended
from rtseg.data.findings.finding import FAULT, Finding
from rtseg.data.findings.forms import other_form, palettes
from rtseg.data.findings.looks import Seen
from rtseg.data.findings.names import case_collisions, unicode_forms, unpaired
from rtseg.data.findings.numbers import unknown_values, white_is_a_class
from rtseg.data.findings.occurrence import absent, alone, unlabelled
from rtseg.data.findings.odd import black, depth, odd_pixels, odd_sizes, one_colour, transparent
from rtseg.data.findings.sizes import other_size, turned
from rtseg.data.findings.strays import strays
from rtseg.data.findings.twins import near_twins, twins
from rtseg.data.findings.unreadable import damaged, unreadable

Kind = Callable[[Seen], Iterator[Finding]]
FILES: tuple[Kind, ...] = (unreadable, damaged, unpaired, strays, unicode_forms, case_collisions)
IMAGES: tuple[Kind, ...] = (twins, near_twins, odd_pixels, depth, black, transparent, odd_sizes, one_colour)
MASKS: tuple[Kind, ...] = (
    other_size, turned, other_form, palettes, unknown_values, blended, white_is_a_class,
)  # fmt: skip
MISREAD = ("white", "outside", "off-by-one", "colours", "numbers", "channels", "blended")


def find_all(seen: Seen) -> list[Finding]:
    """The findings, the worst first."""
    found = [finding for kind in (*FILES, *IMAGES) for finding in kind(seen)]
    return sorted([*found, *find_in_masks(seen)], key=lambda finding: finding.severity)


def find_in_masks(seen: Seen) -> list[Finding]:
    """What is wrong with the masks. Where their numbers mean something else, it is not told which classes are absent:
    that follows from it.
    """
    found = [finding for kind in MASKS for finding in kind(seen)]
    if any(finding.severity == FAULT and finding.kind in MISREAD for finding in found):
        return found
    return [*found, *alone(seen), *absent(seen), *unlabelled(seen)]
