"""Cameras and streams as `rtseg predict` is given them: `camera:0`, `rtsp://camera/live`, `http://camera/video`.

Nothing heavy is imported here.
"""

import os
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from rtseg.errors import UserError

CAMERA = "camera:"
SCHEMES = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "udp": None, "tcp": None}  # and their usual ports
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_DEVICE = re.compile(r"(?:/dev/video|camera:?)?([0-9]{1,2})", re.IGNORECASE)  # as other programs name a camera
_GOOD = "camera:0 (or another number), rtsp://HOST/PATH, http://HOST/PATH, or udp:// and tcp:// with HOST:PORT"


def is_live(source: str) -> bool:
    """Whether it names a camera or a stream, known or not, and no file or folder."""
    if os.path.isfile(source) or os.path.isdir(source):  # a camera's device is neither
        return False
    return source.startswith(CAMERA) or bool(_ADDRESS.match(source) or _DEVICE.fullmatch(source))


def shown(address: str) -> str:
    """An address as people and records may see it: without user, password, query, and values in its path.

    Cameras are given passwords in all these places.
    """
    found = _ADDRESS.match(address)
    if found is None:
        return address
    user, at, rest = address[found.end() :].rpartition("@")  # a password may hold any character
    place, mark, _ = _cut(rest)
    return f"{found[0]}{'***' * bool(user)}{at}{re.sub(r'=[^/&;]*', '=***', place)}{mark}{'***' * bool(mark)}"


def _cut(rest: str) -> tuple[str, str, str]:
    """What is before the query or fragment, its mark, and it."""
    parts = re.split(r"([?#])", rest, maxsplit=1)
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (rest, "", "")


def live_source(sources: Sequence[str]) -> str | None:
    """The one camera or stream among the sources; None where all are files.

    Raises:
        UserError: there are other sources beside it, or it is no address that can be read.
    """
    found = [source for source in map(str, sources) if is_live(source)]
    if not found:
        return None
    if len(sources) > 1:
        raise UserError(
            f"'{shown(found[0])}' is live, and {len(sources)} sources are given: give a camera or a stream alone, and "
            "images and films to a command of their own"
        )
    _check(found[0])
    return found[0]


def camera_number(address: str) -> int | None:
    """2 of `camera:2`; None for a stream."""
    return int(address.removeprefix(CAMERA)) if address.startswith(CAMERA) else None


def _check(address: str) -> None:
    """Raises: UserError where it is no address that can be read."""
    if address.startswith(CAMERA):
        if not re.fullmatch(r"\d{1,4}", address.removeprefix(CAMERA), re.ASCII):
            raise UserError(f"'{address}': a camera is named by its number, as in camera:0")
        return
    if device := _DEVICE.fullmatch(address):
        raise UserError(f"'{address}' seems to be a camera, which is written {CAMERA}{int(device[1])}")
    scheme = address.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise UserError(f"'{shown(address)}': {scheme}:// is not read; give {_GOOD}")
    try:
        parts = urlsplit(address)
        port = parts.port or SCHEMES[scheme]
    except ValueError:
        parts, port = None, None
    if parts is None or ("@" in parts.path + parts.query + parts.fragment and parts.username is None):
        raise UserError(
            f"'{shown(address)}' is no address: ports go up to 65535, and in a name or a password / is written %2F, "
            "@ %40, # %23 and ? %3F"
        )
    if not parts.hostname and scheme != "udp":
        raise UserError(f"'{shown(address)}' names no host; give {_GOOD}")
    if port is None:
        raise UserError(f"'{shown(address)}' names no port; give {_GOOD}")
