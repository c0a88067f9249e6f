"""A server from its socket to its end: the network is ready before anybody can connect."""

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from typing import NamedTuple

import uvicorn

from rtseg.command_line import catch_signals, restore_signals
from rtseg.deploy.folder.lanes import resized_note
from rtseg.deploy.predictor import Predictor
from rtseg.errors import UserError
from rtseg.page.network import drawn_example
from rtseg.serve.app import MOST_HEADER, Server
from rtseg.serve.connection import PatientConnection
from rtseg.serve.limits import Limits
from rtseg.serve.page import network_facts, page_files
from rtseg.serve.work import Work
from rtseg.terminal import counted, say

PATIENCE = 5  # seconds for the header of a request, between two requests, and for a client that does not read
LAST = 5  # seconds for the requests in work where the server ends


class _Quiet(uvicorn.Server):
    """uvicorn's server without its handlers of signals, which end the process as the signal would."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Running(NamedTuple):
    """A server that may be told to end: `http.should_exit = True`, from any thread."""

    http: uvicorn.Server
    server: Server


def create(predictor: Predictor, limits: Limits) -> Running:
    """A server of a network, with its engine ready; `http.run(sockets=[...])` serves."""
    work = Work(predictor, limits)
    work.prepare()
    files = page_files(drawn_example(predictor.card, predictor.fixed_size))
    server = Server(work, limits, network_facts(predictor.card, limits), files)
    config = uvicorn.Config(
        server.app(),
        http=PatientConnection,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="critical",  # what concerns a visitor is said to the visitor
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MOST_HEADER,
        timeout_keep_alive=PATIENCE,
        timeout_graceful_shutdown=LAST,
    )
    return Running(_Quiet(config), server)


def run(predictor: Predictor, limits: Limits, sock: socket.socket) -> None:
    """Serves until Ctrl-C or SIGTERM; requests in work have a few seconds to end.

    Args:
        sock: bound, and not yet open to anybody.

    Raises:
        UserError: another program has opened the port in the meantime.
    """
    running = create(predictor, limits)
    http, server = running

    try:
        sock.listen()
    except OSError as error:
        raise UserError(f"{address(sock)}: {error.strerror}: give another --port") from None
    say(f"{predictor.card.model} on {server.work.engine}: {address(sock)} (Ctrl-C ends it)")
    if predictor.fixed_size:
        say(resized_note(*predictor.fixed_size))
    previous = catch_signals(lambda number, frame: _end(http))
    try:
        http.run([sock])
    finally:
        restore_signals(previous)
    server.work.close()
    say(f"Stopped after {counted(server.requests, 'request')} with an image.")


def _end(http: uvicorn.Server) -> None:
    http.force_exit, http.should_exit = http.should_exit, True  # the second signal does not wait


def address(sock: socket.socket) -> str:
    """Where a browser finds a server that listens on the socket."""
    host, port = sock.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
