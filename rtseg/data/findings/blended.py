"""Masks whose numbers were blended: resized smoothly, smoothed, or saved as JPEG and then as PNG."""

from collections.abc import Iterator

from rtseg.data.findings.finding import CAUTION, FAULT, Finding, counted, named, percent, verb
from rtseg.data.findings.looks import MaskLook, Seen

# Of 302 masks of six data sets the share was at most 0.12, halved by nearest neighbour at most 0.16. Saved as JPEG of
# quality 75 or 95, or resized smoothly by 0.5 to 3, it was 0.24 to 0.77 in the median, above 0.18 in 19 of 20.
SHARE = 0.18
_LEAST = 20  # pixels
# None of 1,005 such masks had as many, halved by nearest neighbour neither; after JPEG every tenth to every one has.
_THIN = 3  # numbers that nowhere fill 3 x 3 pixels, and half of all numbers
_NAMED = 6  # numbers in a sentence
_MANY_UNKNOWN = 8  # numbers without a meaning in one mask


def is_blended(seen: Seen, look: MaskLook) -> bool:
    """Whether a mask's numbers were blended."""
    between = sum(look.between.values())
    if between >= max(_LEAST, SHARE * look.border):
        return True
    if len(look.thin) >= max(_THIN, look.distinct - len(look.thin)):
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
    worst = max(bad, key=lambda path: (sum(bad[path].between.values()) / max(1, bad[path].border), len(bad[path].thin)))
    look = bad[worst]
    between = {value for one in bad.values() for value, pixels in one.between.items() if pixels > 2}
    thin = {value for one in bad.values() for value in one.thin}
    unknown = {value for one in bad.values() for value in one.values if value not in seen.meanings}
    one_number = len(between | thin | unknown) == 1
    numbers = sorted(unknown or thin or between)
    listed = ", ".join(map(str, numbers[:_NAMED])) + f" and {len(numbers) - _NAMED} more" * (len(numbers) > _NAMED)
    share = percent(sum(look.between.values()) / max(1, look.border))
    drawn = f"; if number {numbers[0]} is an outline that was drawn, all is well" if one_number else ""
    yield Finding(
        CAUTION if one_number else FAULT,
        "blended",
        f"{counted(len(bad), 'mask', len(seen.usable))} {verb(len(bad), 'was', 'were')} resized smoothly or saved as "
        f"JPEG: numbers that nobody drew ({listed}) are rims between others, in {named([worst])} {share} of all border "
        f"pixels; make {'it' if len(bad) == 1 else 'them'} anew, resize by nearest neighbour only and save as "
        f"PNG{drawn}",
        list(bad),
    )
