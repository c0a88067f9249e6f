"""Masks whose numbers were blended: resized smoothly, smoothed, or saved as JPEG and then as PNG."""

from collections.abc import Iterator

from rtseg.data.findings.finding import CAUTION, FAULT, Finding, counted, named, percent, verb
from rtseg.data.findings.looks import MaskLook, Seen

# Of 219 masks of six data sets the share was at most 0.032, halved by nearest neighbour 0.056. Saved as JPEG of quality
# 50 to 98, or resized smoothly by 0.5 to 3, it was 0.2 to 0.6 in the median and above 0.1 in nineteen of twenty.
SHARE = 0.1
_LEAST = 20  # pixels
_MANY_UNKNOWN = 8  # numbers without a meaning in one mask


def is_blended(seen: Seen, look: MaskLook) -> bool:
    """Whether a mask's numbers were blended."""
    between = sum(look.between.values())
    if between >= max(_LEAST, SHARE * look.border):
        return True
    unknown = [value for value in look.values if value not in seen.meanings]
    return len(unknown) + look.distinct - len(look.values) > max(_MANY_UNKNOWN, len(seen.labels.names))


def blended(seen: Seen) -> Iterator[Finding]:
    """A fault where several numbers lie between others; a caution for one: it may be an outline that was drawn."""
    if seen.colours:
        return
    bad = {path: look for path, look in seen.usable.items() if is_blended(seen, look)}
    if not bad:
        return
    worst = max(bad, key=lambda path: sum(bad[path].between.values()) / max(1, bad[path].border))
    look = bad[worst]
    values = sorted({value for one in bad.values() for value, pixels in one.between.items() if pixels > 2})
    unknown = sorted({value for one in bad.values() for value in one.values if value not in seen.meanings})
    one_number = len(values) == 1 and not unknown
    listed = ", ".join(map(str, (unknown or values)[:6])) + f" and {len(unknown or values) - 6} more" * (
        len(unknown or values) > 6
    )
    share = percent(sum(look.between.values()) / max(1, look.border))
    drawn = f"; if number {values[0]} is an outline that was drawn, all is well" if one_number else ""
    yield Finding(
        CAUTION if one_number else FAULT,
        "blended",
        f"{counted(len(bad), 'mask', len(seen.usable))} {verb(len(bad), 'was', 'were')} resized smoothly or saved as "
        f"JPEG: in {named([worst])} "
        f"{share} of the border holds a number between those of both sides (numbers {listed}), which no one drew; make "
        f"{'it' if len(bad) == 1 else 'them'} anew, resize by nearest neighbour only and save as PNG{drawn}",
        list(bad),
    )
