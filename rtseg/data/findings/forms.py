"""Masks that hold colours where numbers are wanted, or the other way round; palettes that do not agree."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from rtseg.data.findings.finding import CAUTION, FAULT, Finding, counted, named, shown, verb
from rtseg.data.findings.looks import COLOURS, GREY_COLOURS, NUMBERS, MaskLook, Seen

_MOST_COLOURS = 254
_NAMED = 6


def other_form(seen: Seen) -> Iterator[Finding]:
    """Faults: masks of colours or of three equal channels for numbers, masks of numbers for colours."""
    total = len(seen.masks)
    by_form: dict[str, dict[Path, MaskLook]] = defaultdict(dict)
    for path, look in seen.masks.items():
        by_form[look.form][path] = look
    if seen.colours:
        bad = {path: look for form in NUMBERS for path, look in by_form[form].items()}
        if bad:
            yield Finding(
                FAULT,
                "numbers",
                f"{counted(len(bad), 'mask', total)} {verb(len(bad), 'holds', 'hold')} numbers ({named(list(bad))}) "
                f"where the YAML's `colors` wants "
                "colours; save them as RGB, or take `colors` out of the YAML if all masks hold numbers",
                list(bad),
            )
        return
    if bad := by_form[GREY_COLOURS]:
        yield Finding(
            FAULT,
            "channels",
            f"{counted(len(bad), 'mask', total)} {verb(len(bad), 'has', 'have')} three equal channels "
            f"({named(list(bad))}) where one number a pixel is expected; save one channel as a grey PNG",
            list(bad),
        )
    if bad := by_form[COLOURS[0]]:
        yield _colours(seen, bad, total)


def _colours(seen: Seen, bad: Mapping[Path, MaskLook], total: int) -> Finding:
    pixels: Counter[int] = Counter()
    for look in bad.values():
        pixels.update(look.values)
    commonest = [f"#{code:06x}" for code, _ in pixels.most_common(_NAMED)]
    more = f" and {len(pixels) - _NAMED} more" if len(pixels) > _NAMED else ""
    own = {
        f"#{r:02x}{g:02x}{b:02x}": name for (r, g, b), name in zip(seen.labels.palette, seen.labels.names, strict=True)
    }
    known = {own[f"#{code:06x}"]: f"#{code:06x}" for code in pixels if f"#{code:06x}" in own}
    blended = len(pixels) > _MOST_COLOURS
    if blended:
        repair = (
            "so many come from JPEG or smooth resizing, or from images: make the masks anew as PNG, or exchange "
            "`images` and `masks` in the YAML"
        )
    elif 2 * len(bad) < total:
        repair = "the others hold numbers: save these too as grey PNGs of class numbers"
    else:
        repair = "say in the YAML which colour is which class, as in `colors: {road: '#402020', ignore: '#000000'}`"
    described = len(known) == len(seen.labels.names) and not blended and len(bad) == total
    return Finding(
        FAULT,
        "colours",
        f"{counted(len(bad), 'mask', total)} {verb(len(bad), 'holds', 'hold')} colours ({named(list(bad))}: "
        f"{', '.join(commonest)}{more}) where one number a pixel is expected; {repair}",
        list(bad),
        yaml={"colors": known} if described else {},
    )


def palettes(seen: Seen) -> Iterator[Finding]:
    """Palette masks whose numbers stand for other colours in other files: an editor has numbered each file anew."""
    if seen.colours:
        return
    colour_of: dict[int, tuple[str, Path]] = {}
    number_of: dict[str, tuple[int, Path]] = {}
    files = [path for path, look in seen.masks.items() if look.palette]
    other: list[tuple[int, str, Path]] = []
    moved: list[tuple[int, str, Path]] = []
    for path in files:
        for number, colour in seen.masks[path].palette.items():
            if colour_of.setdefault(number, (colour, path))[0] != colour:
                other.append((number, colour, path))
            if number_of.setdefault(colour, (number, path))[0] != number:
                moved.append((number, colour, path))
    if moved and other:
        number, colour, path = moved[0]
        before, first = number_of[colour]
        bad = list(dict.fromkeys(path for *_, path in moved))
        yield Finding(
            FAULT,
            "palettes",
            f"{counted(len(bad), 'palette mask', len(files))} {verb(len(bad), 'numbers its', 'number their')} colours "
            f"otherwise: {colour} is {before} in "
            f"{shown(first)} and {number} in {shown(path)}, and the numbers are what is read; save the masks as RGB "
            "and give the YAML `colors`",
            bad,
        )
    elif other:
        number, colour, path = other[0]
        before_colour, first = colour_of[number]
        bad = list(dict.fromkeys(path for *_, path in other))
        yield Finding(
            CAUTION,
            "palettes",
            f"{counted(len(bad), 'palette mask', len(files))} {verb(len(bad), 'has', 'have')} another palette: number "
            f"{number} is {before_colour} "
            f"in {shown(first)} and {colour} in {shown(path)}; numbers are read, so look whether they mean the same",
            bad,
        )
