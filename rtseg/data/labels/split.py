"""Which images are for validation, where a source does not say it.

A hash of its name decides for each image alone, so that images added later change nothing for those that are there.
"""

import hashlib
import unicodedata
from collections.abc import Sequence


def validation_share(name: str) -> float:
    """A number from 0 to 1, the same on every machine; the image is for validation where it is below the share asked.

    Args:
        name: of the image, a path without ending.
    """
    digest = hashlib.sha256(unicodedata.normalize("NFC", name).encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split(names: Sequence[str], val: float) -> list[str]:
    """train or val for each name.

    Args:
        val: share of the images for validation. Where the hash gives one of the two no image, and there are two images
            or more, it gets the nearest one.
    """
    shares = [validation_share(name) for name in names]
    chosen = ["val" if share < val else "train" for share in shares]
    if len(names) > 1 and val > 0:
        if "val" not in chosen:
            chosen[shares.index(min(shares))] = "val"
        if "train" not in chosen:
            chosen[shares.index(max(shares))] = "train"
    return chosen
