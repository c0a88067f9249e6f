"""Which classes occur: those that never do, and images on which nothing is labelled."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from rtseg.data.findings.finding import CAUTION, FAULT, NOTE, Finding, counted, named, verb
from rtseg.data.findings.looks import Seen, Split
from rtseg.data.findings.numbers import with_background, written_map

_NAMED = 5  # classes in a sentence


def pixels(seen: Seen, split: Split) -> np.ndarray:
    """Pixels of each class, of ignored ones and of those without meaning: K + 2 numbers."""
    counts = np.zeros(len(seen.labels.names) + 2, np.int64)
    for mask in split.mask_files:
        if look := seen.usable.get(mask):
            counts += seen.classes(look)
    return counts


def alone(seen: Seen) -> Iterator[Finding]:
    """A fault where there is one class alone: what is beside it was not named, or is ignored."""
    names = seen.labels.names
    if len(names) > 1 or not seen.usable:
        return
    values = sorted({seen.value(look, value) for look in seen.usable.values() for value in look.values})
    yaml: dict[str, Any] = {"classes": with_background(names[0])}
    written = f"`classes: [{', '.join(yaml['classes'])}]`"
    if not seen.colours and 1 < len(values) <= _NAMED:
        label_map = {value: yaml["classes"][value > values[0]] for value in values}
        yaml["label_map"] = label_map
        written += f" and `label_map: {written_map(label_map)}`"
    yield Finding(
        FAULT,
        "one class",
        f"'{names[0]}' is the only class, so every answer is right and there is nothing to learn; name what else "
        f"{counted(len(seen.usable), 'mask')} {verb(len(seen.usable), 'shows', 'show')}, as in {written}",
        yaml=yaml,
    )


def absent(seen: Seen) -> Iterator[Finding]:
    """Classes that never occur: a caution; a note where there are too few images to expect them; a fault where one
    class is all there is to learn from.
    """
    names = seen.labels.names
    for split in seen.splits:
        counts = pixels(seen, split)[: len(names)]
        missing = [k for k in range(len(names)) if not counts[k]]
        if not missing or not counts.any():
            continue
        if split.name == "train" and len(names) > 1 and len(missing) == len(names) - 1 and split.all_seen:
            present = names[int(counts.argmax())]
            yield Finding(
                FAULT,
                "one class",
                f"of {len(names)} classes only '{present}' occurs in {counted(len(split.masks), 'train mask')}, so "
                "there is nothing to learn; look which numbers the masks hold, and at the order of `classes`",
            )
            continue
        listed = ", ".join(f"'{names[k]}'" for k in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        few = not split.all_seen or (2 * len(missing) > len(names) and len(split.masks) < 2 * len(names))
        one = len(missing) == 1
        unscored = f"{'it gets' if one else 'they get'} no score there"
        follows = "what no training mask shows is not learnt" if split.name == "train" else unscored
        repair = "look at the class list and the numbers in the masks"
        if split.name != "train":
            repair = f"put images that show {'it' if one else 'them'} into {split.name}"
        elif missing == [0] and not few and seen.labels.ids[0] == 0:
            repair = "if the masks count from 1, a `label_map` says so; else take it out of `classes`"
        yield Finding(
            NOTE if few else CAUTION,
            "absent",
            f"{listed}{more} never {'occurs' if one else 'occur'} in "
            f"{counted(len(split.masks), f'{split.name} mask')}: {follows}; {repair}",
        )


def unlabelled(seen: Seen) -> Iterator[Finding]:
    """Images without a labelled pixel: a caution; a fault where that is all of them."""
    for split in seen.splits:
        empty, usable = [], 0
        for image, mask in split.pairs:
            if look := seen.usable.get(mask):
                counts = seen.classes(look)
                usable += 1
                if counts[-2] == counts.sum():
                    empty.append((image, mask))
        if empty:
            every = len(empty) == usable
            repair = (
                "say in the YAML which number is which class (`label_map`)"
                if every
                else "label them, or take them out: they teach nothing and are not scored"
            )
            yield Finding(
                FAULT if every else CAUTION,
                "unlabelled",
                f"{counted(len(empty), f'{split.name} mask', len(split.pairs))} "
                f"{verb(len(empty), 'has', 'have')} no labelled pixel, all are ignored "
                f"({named([mask for _, mask in empty])}); "
                f"{repair}",
                [file for pair in empty for file in pair],
            )
