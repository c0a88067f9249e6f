"""`rtseg serve`."""

import ipaddress
import socket
from typing import Annotated

import typer

from rtseg.checks import check_between
from rtseg.command_line import Device
from rtseg.errors import UserError, require
from rtseg.paths import check_network
from rtseg.terminal import say

app = typer.Typer()


@app.command()
def serve(
    network: Annotated[
        str,
        typer.Argument(
            help=".ckpt, folder with model.safetensors, exported file, name of rtseg list weights, or Hugging Face id"
        ),
    ],
    host: Annotated[str, typer.Option(help="address to listen on; this machine alone reaches 127.0.0.1")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free")] = 8000,
    engine: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="auto: the fastest engine here that equals float32 PyTorch, measured once; or one of rtseg list "
            "backends, such as openvino:bf16",
        ),
    ] = "auto",
    device: Device = None,
    max_bytes: Annotated[int, typer.Option(help="refuse image files of more bytes")] = 2**25,
    max_pixels: Annotated[int, typer.Option(help="refuse images of more pixels, before they are decoded")] = 2**24,
    receive_seconds: Annotated[float, typer.Option(help="refuse requests that take longer to arrive")] = 30.0,
    seconds: Annotated[float, typer.Option(help="answer within this time, or say that it was too short")] = 60.0,
    parallel: Annotated[int, typer.Option(help="refuse requests while so many are waiting or in work")] = 16,
) -> None:
    """Show a network to browsers and programs: a page, and an API that takes images over HTTP.

    There is no password: only this machine reaches it unless --host says otherwise (docs/serve.md).
    """
    check_between("--port", port, 0, 65535, "0 takes any that is free")
    check_network(network)
    for module in ("starlette", "uvicorn"):
        require(module, "serve")
    from rtseg.serve.limits import Limits

    limits = Limits(max_bytes, max_pixels, receive_seconds, seconds, parallel)
    with _bound(host, port) as sock:
        from rtseg.page.network import check_given

        check_given(network)
        from rtseg.serve.server import run
        from rtseg.serve.work import load_prepared

        run(load_prepared(network, engine=engine, device=device), limits, sock)


def _bound(host: str, port: int) -> socket.socket:
    """A socket that nobody can connect to yet.

    Raises:
        UserError: there is no such address here, the port is in use, or the system refuses it.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise UserError(
            f"--host '{host}' is no address: give 127.0.0.1 for this machine alone, or 0.0.0.0 for all that reach it"
        ) from None
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(place)
    except OSError as error:
        sock.close()
        raise UserError(
            f"cannot listen on {host}, port {port} ({error.strerror}): give another --port, such as 0 for any that is "
            "free, or another --host"
        ) from None
    if not ipaddress.ip_address(str(place[0]).partition("%")[0]).is_loopback:
        say(f"warning: whoever reaches {host} can use this server: it has no password (docs/serve.md)", stderr=True)
    return sock
