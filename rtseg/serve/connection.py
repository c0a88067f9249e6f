"""Connections that do not wait for ever for a slow or silent client, and whose refusals are JSON, too."""

import json
from asyncio import TimerHandle, Transport
from http import HTTPStatus

from uvicorn.protocols.http.h11_impl import H11Protocol

from rtseg.serve.app import MOST_HEADER

MOST_CONNECTIONS = 256  # of one server; a process may usually open 1024 files
_LOOK = 0.5  # seconds between two looks at a connection


class PatientConnection(H11Protocol):
    """A connection of uvicorn that is closed where nothing comes of it.

    uvicorn waits for ever for the header of a request, and for a client that does not read its answer. Here either has
    as long as `timeout_keep_alive`; an answer that is being read has as long as the server gives it.
    """

    _looking: TimerHandle | None = None
    _quiet = 0.0  # seconds for which nothing has come of it
    _seen: tuple[object, ...] = ()

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            self._refuse(503, f"{MOST_CONNECTIONS} connections are open; send the request again in a second")
        else:
            self._looking = self.loop.call_later(_LOOK, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Ends the connection where it has been quiet for too long; while a request is at work its own limits hold."""
        unread = self.transport.get_write_buffer_size()
        busy = self.cycle is not None and not self.cycle.response_complete and not unread
        seen = (id(self.cycle), unread, self.transport.is_closing())
        if self.transport.is_closing():  # then it has had its time
            seen = seen[0], 0, True
        self._quiet = self._quiet + _LOOK if seen == self._seen and not busy else 0.0
        self._seen = seen
        if self._quiet < self.timeout_keep_alive:
            self._looking = self.loop.call_later(_LOOK, self._look)
        elif unread or not self.conn.trailing_data[0]:
            self.transport.abort()
        else:
            self._refuse(408, f"the header of the request did not arrive in {self.timeout_keep_alive:g} seconds")

    def send_400_response(self, msg: str) -> None:
        """Where the request is no HTTP, or its header is too long."""
        if len(self.conn.trailing_data[0]) > MOST_HEADER:
            self._refuse(431, f"the header of the request has more than {MOST_HEADER:,} bytes")
        else:
            self._refuse(400, "the request is no HTTP/1.1: its header or the length of its body is wrong")

    def _refuse(self, status: int, why: str) -> None:
        """Says why, unless an answer has begun, and closes. h11 is left out: it may be in the middle of a request."""
        at_work = self.cycle is not None and not self.cycle.response_complete
        if not (at_work and self.cycle.response_started):
            content = json.dumps({"error": why}).encode()
            lines = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
                "Content-Type: application/json",
                f"Content-Length: {len(content)}",
                "X-Content-Type-Options: nosniff",
                "Connection: close",
            )
            self.transport.write("\r\n".join((*lines, "\r\n")).encode() + content)
        if at_work:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
