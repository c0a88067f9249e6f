"""Files that another file names: programs write names in the forms of their own system."""

import os
import unicodedata
from pathlib import Path


def named_file(folder: Path, name: str) -> Path | None:
    """The file in a folder that a name means; None where there is none.

    A name may part folders by the back-slashes of Windows, and macOS writes Unicode in another form than Linux.
    """
    for parted in (name, name.replace("\\", "/")):
        for written in (parted, unicodedata.normalize("NFC", parted), unicodedata.normalize("NFD", parted)):
            if os.path.isfile(folder / written):  # which takes a name of any length
                return folder / written
    return None
