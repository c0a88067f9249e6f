"""Values in masks that mean nothing, or mean something else than their author thought."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rtseg.data.dataset import IGNORE, MOST_CLASSES, ranges
from rtseg.data.findings.blended import is_blended
from rtseg.data.findings.finding import CAUTION, FAULT, Finding, counted, named, percent, verb
from rtseg.data.findings.looks import MaskLook, Seen

_WHITE = 255
_NAMED = 5  # values in a sentence
_MUCH = 0.01  # of the pixels
_FEW = 0.1  # of the masks


def unknown_values(seen: Seen) -> Iterator[Finding]:
    """Faults: values outside the classes, with the mapping that was probably meant. Blended masks are left out."""
    masks = {path: look for path, look in seen.usable.items() if seen.colours or not is_blended(seen, look)}
    bad = {path: look for path, look in masks.items() if seen.classes(look)[-1]}
    if not bad:
        return
    pixels: Counter[int] = Counter()
    for look in bad.values():
        pixels.update({seen.value(look, level): number for level, number in look.values.items()})
    unknown = Counter({value: number for value, number in pixels.items() if value not in seen.meanings})
    found = [f"{seen.written(value)} ({counted(number, 'pixel')})" for value, number in unknown.most_common(_NAMED)]
    more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    start = (
        f"{counted(len(bad), 'mask', len(seen.usable))} {verb(len(bad), 'holds', 'hold')} "
        f"{'colours' if seen.colours else 'numbers'} outside the classes: {', '.join(found)}{more} in "
        f"{named(list(bad))}"
    )
    if seen.colours:
        repair = "; correct `colors`, or add them there (under `ignore` where they are no class)"
        if len(unknown) > len(seen.labels.names) + _NAMED:
            repair = "; so many come from JPEG or smooth resizing: make the masks anew as PNG"
        yield Finding(FAULT, "outside", f"{start}{repair}", list(bad))
        return
    levels: Counter[int] = Counter()
    for look in masks.values():
        levels.update(look.values)
    meant = _meant(seen, levels, sorted(unknown), few=len(bad) <= _FEW * len(masks))
    why, yaml = meant or (
        f"allowed are {ranges(sorted(seen.meanings))}; repair the files, or say with `label_map` what the others mean",
        {},
    )
    kind = "off-by-one" if unknown.keys() == {len(seen.labels.names)} and meant else "outside"
    yield Finding(FAULT, kind, f"{start}; {why}", list(bad), yaml)


def _meant(
    seen: Seen, levels: Mapping[int, int], unknown: Sequence[int], *, few: bool
) -> tuple[str, Mapping[str, object]] | None:
    """What the numbers of masks that should hold 0..K-1 probably mean: a reason, and the YAML that says so.

    Args:
        levels: number -> its pixels.
        few: whether so few masks hold the unknown numbers that these are slips, not classes.
    """
    names = list(seen.labels.names)
    number = len(names)
    if seen.labels.ids != tuple(range(number)) or seen.meanings.get(0) != 0:
        return None
    own = sorted(level for level in levels if level != _WHITE)
    if unknown == [number] and 0 not in levels:
        return _map("the masks count from 1, the classes from 0", dict(zip(range(1, number + 1), names, strict=True)))
    if unknown == [number]:
        return None if few else _one_more(seen, levels, own)
    for several in () if few else (own, sorted(levels)):
        if len(several) == number:
            return _map("the numbers are spread", dict(zip(several, names, strict=True)))
    return None


def _one_more(seen: Seen, levels: Mapping[int, int], own: Sequence[int]) -> tuple[str, Mapping[str, object]] | None:
    """The same for masks that hold 0 and the number K: a name was forgotten, or 0 is no class.

    A `label_map` that moves all classes is never written: where a name was forgotten, it would be wrong, and unseen.
    """
    names = list(seen.labels.names)
    number = len(names)
    moved = written_map(dict(zip(range(1, number + 1), names, strict=True)) | {0: "ignore"})
    if number > 1 and levels[0] < min(_MUCH * sum(levels.values()), levels[number]):
        share = percent(levels[0] / sum(levels.values()))
        return (
            f"number 0 has {share} of the pixels: if it is no class, write `label_map: {moved}` into the YAML, else "
            "add the name that is missing to `classes`",
            {},
        )
    if len(own) == number > 1:
        spread = written_map(dict(zip(own, names, strict=True)))
        return (
            f"add the name that is missing to `classes`, or if the numbers are spread, write `label_map: {spread}` "
            "into the YAML",
            {},
        )
    if number >= MOST_CLASSES:
        return None
    both = with_background(names[0]) if number == 1 else [*names, _free(f"class_{number}", names)]
    classes = {value: label for value, label in seen.meanings.items() if label != IGNORE}
    plain = classes == {k: k for k in range(number)}
    rename = "" if number == 1 else f", with the right name for {number}, and in the order of the numbers"
    return (
        f"there is one number more than classes: write `classes: [{', '.join(both)}]` into the YAML{rename}",
        {"classes": both} if plain else {},
    )


def with_background(name: str) -> list[str]:
    """Two classes of one: what is beside it is background."""
    return [name, "class_1"] if name.lower() == "background" else ["background", name]


def _free(name: str, names: Sequence[str]) -> str:
    return name if name not in names else _free(f"{name}_", names)


def _map(why: str, label_map: Mapping[int, str]) -> tuple[str, Mapping[str, object]]:
    return f"{why}: write `label_map: {written_map(label_map)}` into the YAML", {"label_map": dict(label_map)}


def written_map(label_map: Mapping[int, str], most: int = 8) -> str:
    """'{1: road, 2: car}'; of a long one the beginning."""
    parts = [f"{value}: {name}" for value, name in label_map.items()]
    return "{" + ", ".join(parts[:most]) + ", ..." * (len(parts) > most) + "}"


def white_is_a_class(seen: Seen) -> Iterator[Finding]:
    """Masks in which 255 probably is a class, and would vanish as 'ignore'.

    A `label_map` is proposed only where the masks hold the first of two classes and 255, and nothing else: elsewhere
    255 may well be what it says, and a map that makes it a class would spoil the labels unseen.
    """
    names, ids = seen.labels.names, seen.labels.ids
    if seen.colours or seen.meanings.get(_WHITE) != IGNORE or len(names) < 2:
        return
    white = {path: look for path, look in seen.usable.items() if look.values.get(_WHITE)}
    if not white:
        return
    total = sum(
        (seen.classes(look) for look in seen.usable.values()), start=0 * seen.classes(next(iter(white.values())))
    )
    absent = [k for k in range(len(names)) if not total[k]]
    share = sum(look.values[_WHITE] for look in white.values()) / max(1, sum(total))
    masks, files = counted(len(white), "mask", len(seen.usable)), named(list(white))
    if len(names) == 2 and {value for look in seen.usable.values() for value in look.values} == {ids[0], _WHITE}:
        label_map = {ids[0]: names[0], _WHITE: names[1]}
        yield Finding(
            FAULT,
            "white",
            f"{masks} {verb(len(white), 'holds', 'hold')} 255 ({files}, {percent(share)} of all pixels), which means "
            f"ignore, and none holds {ids[1]}, so '{names[1]}' would vanish; write "
            f"`label_map: {written_map(label_map)}` into the YAML",
            list(white),
            {"label_map": label_map},
        )
    elif len(names) == 2 and not absent:
        yield from _in_two_ways(seen, white)
    elif absent in ([0], [len(names) - 1]) and (len(names) == 2 or (share >= _MUCH and not total[-1])):
        name = names[absent[0]]
        label_map = {id: one for id, one in zip(ids, names, strict=True) if one != name} | {_WHITE: name}
        yield Finding(
            CAUTION,
            "white",
            f"'{name}' never occurs, while {percent(share)} of all pixels are 255, which is ignored, in {masks} "
            f"({files}); if 255 is '{name}', write `label_map: {written_map(label_map)}` into the YAML",
            list(white),
        )


def _in_two_ways(seen: Seen, white: Mapping[Path, MaskLook]) -> Iterator[Finding]:
    """Both classes occur, and no mask that holds the second holds 255."""
    (first, second), ids = seen.labels.names, seen.labels.ids
    if white.keys() & {path for path, look in seen.usable.items() if seen.classes(look)[1]}:
        return
    label_map = {ids[0]: first, ids[1]: second, _WHITE: second}
    yield Finding(
        FAULT,
        "white",
        f"{counted(len(white), 'mask', len(seen.usable))} {verb(len(white), 'holds', 'hold')} {ids[0]} "
        f"and 255 ({named(list(white))}), the others {ids[0]} and {ids[1]}: '{second}' seems to be written in two "
        f"ways, and 255 is ignored; if 255 is '{second}', write `label_map: {written_map(label_map)}` into the YAML",
        list(white),
    )
