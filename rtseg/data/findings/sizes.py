"""Masks of another size than their image, and images that EXIF turns."""

from collections.abc import Iterator

from rtseg.data.findings.finding import CAUTION, FAULT, Finding, counted, named, shown, verb
from rtseg.data.findings.looks import Seen

_UPRIGHT, _SIDES_SWAPPED = 1, (5, 6, 7, 8)  # EXIF orientations


def other_size(seen: Seen) -> Iterator[Finding]:
    """Faults: pairs whose sizes differ."""
    for split in seen.splits:
        bad = [
            (pair, image, mask)
            for pair, image, mask in zip(split.pairs, split.images, split.masks, strict=True)
            if image.fault is None and mask.fault is None and image.size != mask.size
        ]
        for swapped in (True, False):
            some = [entry for entry in bad if (entry[1].size[::-1] == entry[2].size) == swapped]
            if some:
                (image_file, mask_file), image, mask = some[0]
                turned = image.turned in _SIDES_SWAPPED
                why = "" if not swapped else "the sides are swapped: "
                why += "the image is turned by its EXIF tag, and the mask is not; " * turned
                repair = (
                    "turn the mask by the same tag, or label the upright image"
                    if turned
                    else "label the image at its own size, or resize the mask (nearest neighbour)"
                )
                yield Finding(
                    FAULT,
                    "sizes",
                    f"{counted(len(some), f'{split.name} mask', len(split.pairs))} and their images differ in size, "
                    f"such as {shown(mask_file)} with {_size(mask.size)} and {shown(image_file)} with "
                    f"{_size(image.size)} (height x width); {why}{repair}",
                    [file for pair, _, _ in some for file in pair],
                )


def turned(seen: Seen) -> Iterator[Finding]:
    """Cautions: images whose EXIF tag turns or mirrors them in a way that the size of the mask cannot confirm."""
    for split in seen.splits:
        bad = [
            (pair[0], image.turned)
            for pair, image in zip(split.pairs, split.images, strict=True)
            if image.turned != _UPRIGHT
            and image.turned in range(1, 9)
            and (image.turned not in _SIDES_SWAPPED or image.size[0] == image.size[1])
        ]
        if bad:
            files = [file for file, _ in bad]
            yield Finding(
                CAUTION,
                "turned",
                f"{counted(len(bad), f'{split.name} image', len(split.pairs))} "
                f"{verb(len(bad), 'is', 'are')} turned or mirrored by {verb(len(bad), 'its', 'their')} EXIF tag "
                f"(orientation {bad[0][1]}: {named(files)}), which their size does not show; look at their "
                "overlays, and where mask and image do not match, turn the mask likewise",
                files,
            )


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
