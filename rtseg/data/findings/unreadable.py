"""Files that cannot be read, or that a decoder mends while it reads them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rtseg.data.findings.finding import CAUTION, FAULT, Finding, counted, named, verb
from rtseg.data.findings.looks import ImageLook, MaskLook, Seen

_SPOILT = "premature"  # what follows is grey, or of another part of the picture


def unreadable(seen: Seen) -> Iterator[Finding]:
    """Faults: images and masks that cannot be read."""
    for split in seen.splits:
        looks: tuple[tuple[str, Sequence[Path], Sequence[ImageLook | MaskLook]], ...] = (
            ("image", split.image_files, split.images),
            ("mask", split.mask_files, split.masks),
        )
        for what, files, found in looks:
            bad = [(path, look.fault) for path, look in zip(files, found, strict=True) if look.fault]
            if bad:
                number = counted(len(bad), f"{split.name} {what}", len(files))
                others = [path for path, _ in bad[1:]]
                more = f"; so are {named(others)}" if others else ""
                yield Finding(FAULT, "unreadable", f"{number} cannot be used: {bad[0][1]}{more}", [f for f, _ in bad])


def damaged(seen: Seen) -> Iterator[Finding]:
    """JPEGs that decoders read with a warning: a fault where pixels are missing, else a caution."""
    for split in seen.splits:
        for severity, spoilt in ((FAULT, True), (CAUTION, False)):
            bad = [
                (path, look.damage)
                for path, look in zip(split.image_files, split.images, strict=True)
                if look.damage and (_SPOILT in look.damage.lower()) == spoilt
            ]
            if bad:
                number = counted(len(bad), f"{split.name} image", len(split.images))
                files = [path for path, _ in bad]
                yield Finding(
                    severity,
                    "damaged",
                    f"{number} {verb(len(bad), 'is', 'are')} damaged in the middle, though it can be read "
                    f"({named(files)}; the decoder says '{bad[0][1]}'); copy or download it again, or remove it",
                    files,
                )
