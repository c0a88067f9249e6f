"""Files fetched over HTTPS: whole or not at all, resumed where they were cut off, never larger than was agreed."""

import http.client
import json
import os
import re
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from rtseg.disk import refusals_told
from rtseg.errors import UserError, first_line
from rtseg.terminal import Console, say

_PATIENCE = 20.0  # seconds without a byte
_ATTEMPTS = 5  # the first, and as many that resume where the one before was cut off
_BLOCK = 2**18


class UnfetchedError(UserError):
    """An address that does not give what is asked for: the message says what stands in the way."""


class _CutError(Exception):
    """The connection ended before the file did."""


def check_https(address: str) -> None:
    """Raises: UnfetchedError where an address is not https, so that others could read and change what comes."""
    if not _is_https(address):
        raise UnfetchedError(f"'{address}' is not an https address")


def _is_https(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:  # as of "https://[bad"
        return False
    return parts.scheme == "https" and bool(parts.hostname)


def download(address: str, file: Path, *, most: int) -> None:
    """Fetches a file; `file` is there when it is whole, and not before.

    What has come lies in `file` with `.part` behind it, from where the same call resumes later, if the server says
    that its file is still the same. One process at a time may fetch a file, see `rtseg.output.lock`.

    Args:
        address: https. Redirections are followed, to https alone.
        file: in a folder that is there.
        most: bytes that it may have.

    Raises:
        UnfetchedError: no https, no network, no such file, too large, or cut off again and again.
        UserError: the disk has no room, or refuses.
    """
    check_https(address)
    part = _beside(file, ".part")
    for attempt in range(1, _ATTEMPTS + 1):
        had = _size(part)
        try:
            with refusals_told(part):
                _fetch(address, part, most)
                os.replace(part, file)
                _forget(part)
            return
        except _CutError as error:
            if attempt == _ATTEMPTS or (part.exists() and _size(part) <= had):
                raise UnfetchedError(
                    f"{address} was cut off after {_megabytes(_size(part))} ({error}); the same command resumes there"
                ) from None


def _fetch(address: str, part: Path, most: int) -> None:
    """Brings `part` to its full length."""
    begin, validator = _state(part, address)
    headers = {"User-Agent": "rtseg"}
    if begin:
        headers |= {"Range": f"bytes={begin}-", "If-Range": validator}
    with _answer(address, headers, part) as answer:
        if answer.status == 206 and (part_of := _part(answer.headers)) and part_of[0] == begin > 0:
            total = part_of[1]
        elif answer.status == 206:
            _forget(part)
            raise _CutError("the server sent another part than the one that was asked for")
        else:
            begin, total = 0, _length(address, answer.headers)
        if total > most:
            _forget(part)
            raise UnfetchedError(
                f"{address} has {_megabytes(total)}, more than the {_megabytes(most)} that it may have at most"
            )
        _check_room(part, total - begin)
        if not begin:
            _forget(part)  # before the new version is noted: a command killed here must not go on with the old bytes
            _remember(part, address, answer.headers)
        with part.open("ab" if begin else "wb") as written, _progress(address, begin, total) as advance:
            _copy(answer, written, total - begin, advance)


@contextmanager
def _answer(address: str, headers: dict[str, str], part: Path) -> Iterator[http.client.HTTPResponse]:
    try:
        opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=ssl.create_default_context()), _HTTPSAlone
        )
        answer = opener.open(urllib.request.Request(address, headers=headers), timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:  # the file ends before what is here does: it is fetched anew
                _forget(part)
                raise _CutError("the file has changed there") from None
            raise UnfetchedError(f"{address}: the server answers '{first_line(error)}'") from None
    except UnfetchedError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: of a host's name
        raise UnfetchedError(f"{address}: {_why(error)}") from None
    with answer:
        yield answer


class _HTTPSAlone(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> Any:
        if not _is_https(newurl):
            raise UnfetchedError(f"{req.full_url} leads to '{newurl}', which is not an https address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _copy(answer: http.client.HTTPResponse, written: IO[bytes], length: int, advance: Callable[[int], None]) -> None:
    """Raises: _CutError where fewer bytes come than the server has announced; more are not read."""
    left = length
    while left:
        try:
            block = answer.read1(min(_BLOCK, left))
        except (OSError, http.client.HTTPException) as error:
            raise _CutError(_why(error)) from None
        if not block:
            raise _CutError("the server ended the connection")
        written.write(block)
        left -= len(block)
        advance(len(block))


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not trusted ({reason.verify_message}); where an own authority signs, "
            "SSL_CERT_FILE names the file of its certificate"
        )
    if isinstance(reason, TimeoutError):
        return f"no answer within {_PATIENCE:.0f} s"
    return first_line(reason) if isinstance(reason, Exception) else str(reason)


def _length(address: str, headers: http.client.HTTPMessage) -> int:
    length = headers.get("Content-Length") or ""
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise UnfetchedError(f"{address}: the server does not say how large the file is")
    return int(length)


def _part(headers: http.client.HTTPMessage) -> tuple[int, int] | None:
    """Where the part that is sent begins, and how large the whole file is."""
    match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18})", headers.get("Content-Range", ""))
    return (int(match[1]), int(match[2])) if match else None


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise UserError(
            f"'{part.parent}' has {_megabytes(free)} free, and {_megabytes(needed)} are to come: make room there"
        )


@contextmanager
def _progress(address: str, begin: int, total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with the bytes that have come: a bar at a terminal, elsewhere one line."""
    name, host = Path(urlsplit(address).path).name, urlsplit(address).hostname
    console = Console(stderr=True)
    rest = f", from {_megabytes(begin)} on" if begin else ""
    if not console.is_terminal:
        say(f"fetching {name} from {host}, {_megabytes(total)}{rest}", stderr=True)
        yield lambda number: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bars:
        bar = bars.add_task(f"{name} from {host}", total=total, completed=begin)
        yield lambda number: bars.advance(bar, number)


def _state(part: Path, address: str) -> tuple[int, str]:
    """How many bytes of an address's file are here, and what names their version; 0 where it cannot be gone on with."""
    try:
        known = json.loads(_beside(part, ".json").read_text())
        if known["address"] == address and known["validator"]:
            return _size(part), str(known["validator"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, ""


def _remember(part: Path, address: str, headers: http.client.HTTPMessage) -> None:
    """Notes what names the version of the file, for `_state`; a weak ETag says nothing of bytes."""
    etag = headers.get("ETag", "")
    validator = "" if etag.startswith("W/") else etag
    validator = validator or headers.get("Last-Modified", "")
    _beside(part, ".json").write_text(json.dumps({"address": address, "validator": validator}))


def _forget(part: Path) -> None:
    for file in (part, _beside(part, ".json")):
        with suppress(FileNotFoundError):
            file.unlink()


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(file.name + ending)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size} bytes"
