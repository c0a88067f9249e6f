"""Names that keep image and mask apart, or that other systems take for one."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from rtseg.data.findings.finding import CAUTION, FAULT, NOTE, Finding, counted, named, shown, verb
from rtseg.data.findings.looks import Seen


def unpaired(seen: Seen) -> Iterator[Finding]:
    """Images without a mask: a fault. Masks without an image: a caution. Two files for one name: a fault."""
    images = [path for one in seen.unpaired for path in one.images]
    masks = [path for one in seen.unpaired for path in one.masks]
    doubled = [entry for one in seen.unpaired for entry in one.doubled]
    if images:
        yield Finding(
            FAULT,
            "unpaired",
            f"{counted(len(images), 'image')} {verb(len(images), 'has', 'have')} no mask ({named(images)}); add the "
            f"masks, remove the images, or rename{_near(images[0], masks)}",
            images,
        )
    if masks:
        yield Finding(
            CAUTION,
            "unpaired",
            f"{counted(len(masks), 'mask')} without an image {verb(len(masks), 'is', 'are')} left out "
            f"({named(masks)}); "
            "add the images, or remove the masks",
            masks,
        )
    if doubled:
        name, one, other = doubled[0]
        yield Finding(
            FAULT,
            "doubled",
            f"{counted(len(doubled), 'name')} {verb(len(doubled), 'stands', 'stand')} for two files each, such as "
            f"'{name}' for {shown(one)} and {shown(other)}; remove or rename one of them",
            [path for _, *pair in doubled for path in pair],
        )


def _near(image: Path, masks: list[Path]) -> str:
    """The mask that an image probably belongs to, by its name."""
    plain = image.stem.casefold()
    if same := [mask for mask in masks if mask.stem.casefold() == plain]:
        return f": {shown(same[0])} differs in upper and lower case"
    if longer := [mask for mask in masks if plain in mask.stem.casefold() or mask.stem.casefold() in plain]:
        return (
            f": {shown(longer[0])} may belong to {shown(image)} (patterns in the YAML, such as "
            "`masks: masks/*_mask.png`, pair such names)"
        )
    return " them"


def unicode_forms(seen: Seen) -> Iterator[Finding]:
    """Pairs whose names are written in two forms of Unicode: paired here, not by other programs."""
    bad = [
        pair
        for split in seen.splits
        for pair in split.pairs
        if unicodedata.is_normalized("NFC", pair[0].stem) != unicodedata.is_normalized("NFC", pair[1].stem)
    ]
    if bad:
        image, mask = bad[0]
        yield Finding(
            NOTE,
            "unicode",
            f"{counted(len(bad), 'pair')} {verb(len(bad), 'has', 'have')} names in two forms of Unicode, such as "
            f"{shown(image)} and {shown(mask)}; rtseg pairs them, other programs may not: rename with "
            "`convmv -f utf8 -t utf8 --nfc --notest FOLDER`",
            [file for pair in bad for file in pair],
        )


def case_collisions(seen: Seen) -> Iterator[Finding]:
    """Files whose names differ in upper and lower case alone: one file on macOS and Windows."""
    by_name: dict[str, set[Path]] = defaultdict(set)
    for search in seen.searches:
        for path in search.found:
            by_name[unicodedata.normalize("NFC", str(path)).casefold()].add(path)
    bad = sorted(path for group in by_name.values() if len(group) > 1 for path in group)
    if bad:
        yield Finding(
            CAUTION,
            "case",
            f"{counted(len(bad), 'file')} have names that differ in upper and lower case or Unicode form alone "
            f"({named(bad)}), and are one file on macOS and Windows; rename them",
            bad,
        )
