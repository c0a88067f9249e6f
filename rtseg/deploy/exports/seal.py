"""The digest that each exported file carries of itself: one changed bit, wherever it lies, is seen.

The file holds `rtseg-sha256:` once, then 64 digits. They are the SHA-256 of the file with these digits as zeros, and of
the files beside it (an OpenVINO file's .bin) behind that. It finds damage and mixed-up files, not forgery.
"""

import hashlib
import re

MARK = "rtseg-sha256:"
BLANK = MARK + "0" * 64  # as it stands in a file before it is sealed
_SEAL = re.compile(re.escape(MARK.encode()) + rb"([0-9a-f]{64})")


def seal(blank: bytes, *beside: bytes) -> bytes:
    """The same file with its digest in place of `BLANK`, which it holds once."""
    assert blank.count(BLANK.encode()) == blank.count(MARK.encode()) == 1
    return blank.replace(BLANK.encode(), (MARK + _digest(blank, *beside)).encode())


def is_sealed(content: bytes) -> bool:
    """Whether there is a digest, right or wrong."""
    return MARK.encode() in content


def is_whole(content: bytes, *beside: bytes) -> bool:
    """Whether a sealed file, and those beside it, are as they were written."""
    found = list(_SEAL.finditer(content))
    if len(found) != 1 or content.count(MARK.encode()) != 1:
        return False
    blank = b"".join([content[: found[0].start()], BLANK.encode(), content[found[0].end() :]])
    return _digest(blank, *beside) == found[0][1].decode()


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
