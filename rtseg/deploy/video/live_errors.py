"""Why a camera or a stream gives nothing, in a sentence: OpenCV says only that it does not."""

import glob
import socket
import ssl
import sys
from urllib.parse import urlsplit

from rtseg.addresses import CAMERA, SCHEMES, camera_number, shown
from rtseg.errors import UserError

_NEEDS = {
    401: "it asks for a name and a password ({scheme}://NAME:PASSWORD@HOST/PATH); those given are wrong or missing",
    403: "it refuses access to this path",
    404: "it has no such path",
}


def nothing_to_open(address: str, patience: float) -> UserError:
    """What is said of a source that could not be opened.

    Args:
        patience: seconds that are waited for an answer.
    """
    number = camera_number(address)
    reason = _camera(number) if number is not None else _stream(address, patience)
    return UserError(f"'{shown(address)}' cannot be opened: {reason}")


def _camera(number: int) -> str:
    if not sys.platform.startswith("linux"):
        return "there is no such camera, another program uses it, or the system does not allow it; try another number"
    there = sorted(glob.glob("/dev/video[0-9]*"), key=lambda path: int(path.removeprefix("/dev/video")))
    if not there:
        return "there is no camera here (no /dev/video*); connect one, and into a container pass --device /dev/video0"
    if f"/dev/video{number}" in there:
        return (
            f"/dev/video{number} is no camera that gives images, another program uses it, or you may not read it "
            "(group video)"
        )
    names = ", ".join(path.replace("/dev/video", CAMERA) for path in there)
    return f"there is no /dev/video{number}; there are {names}"


def _stream(address: str, patience: float) -> str:
    parts = urlsplit(address)
    scheme, host = parts.scheme, parts.hostname
    port = parts.port or SCHEMES[scheme]
    if scheme == "udp" or not host or port is None:
        return f"nothing that can be read came within {patience:g} s; is it sent to this machine and this port?"
    try:
        with socket.create_connection((host, port), patience) as connection:
            status = None if scheme == "tcp" else _status(connection, address)
    except socket.gaierror as error:
        return f"there is no host '{host}' ({error.strerror}); is its name right?"
    except ConnectionRefusedError:
        return f"{host} refuses port {port}: nothing listens there; is the port right, and the camera on?"
    except TimeoutError:
        return f"{host} does not answer at port {port} within {patience:g} s; is it on, and in this net?"
    except OSError as error:
        return f"{host} cannot be reached at port {port}: {error.strerror or error}"
    if status in _NEEDS:
        return _NEEDS[status].format(scheme=scheme)
    if status is not None and status >= 400:
        return f"the server answers with status {status}"
    return (
        f"the server answers, but within {patience:g} s it sends no film that OpenCV reads; are the path, the name, "
        "the password and the codec right?"
    )


def _status(connection: socket.socket, address: str) -> int | None:
    """The status of an answer to a question without a password; None where there is none."""
    parts = urlsplit(address)
    path = f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}"
    host = parts.netloc.rpartition("@")[2]
    asked = f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n"
    if parts.scheme.startswith("rtsp"):
        asked = f"DESCRIBE {parts.scheme}://{host}{path} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    try:
        if parts.scheme in ("https", "rtsps"):
            trusting = ssl.create_default_context()  # nothing secret is sent, and a number is read
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            connection = trusting.wrap_socket(connection, server_hostname=parts.hostname)
        connection.sendall(asked.encode())
        words = connection.recv(64).split(None, 2)
        return int(words[1])
    except (OSError, ValueError, IndexError):
        return None
