"""The addresses of a server and what they answer: a page, its files, and an API that takes images.

Files are those that were read when the server started: no address opens anything. Bodies stay in memory, and nothing of
a visitor is written or logged.
"""

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rtseg.errors import described
from rtseg.serve.answers import Answer, Asked
from rtseg.serve.limits import Gone, Limits, Refused
from rtseg.serve.openapi import document
from rtseg.serve.work import Work
from rtseg.terminal import say

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
SECURITY = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",  # this and the next one permit threads to wasm
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
MOST_HEADER = 2**14  # bytes of a request without its body
_LINGER = 2.0  # seconds for which the rest of a refused body is read, so that its sender sees the answer
_SENTENCES = {
    404: "there is nothing at this address: /api/segment takes images, and /openapi.json says how",
}


@dataclass(frozen=True)
class File:
    """A file of the page. `media_type` is that of `content`."""

    content: bytes
    media_type: str


class Server:
    """What the addresses need to answer.

    Args:
        work: segments images.
        limits: of the server.
        facts: what `/network.json` says.
        files: of the page by their address.

    Attributes:
        requests: with an image, since the start.
        held: bytes of image files and of answers that are in memory.
    """

    def __init__(self, work: Work, limits: Limits, facts: Mapping[str, Any], files: Mapping[str, File]) -> None:
        self.work, self.limits, self.facts = work, limits, facts
        self._files = files
        self._begin = time.monotonic()
        self.held = self.requests = 0

    def app(self) -> ASGIApp:
        routes = [
            Route("/api/segment", self._segment, methods=["POST"]),
            Route("/network.json", self._network),
            Route("/health", self._health),
            Route("/openapi.json", self._openapi),
            *(Route(address, _sender(file)) for address, file in self._files.items()),
        ]
        handlers = {Refused: _refused, HTTPException: _http_error, Exception: _failed}
        app = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]
        app.router.redirect_slashes = False
        return _Frame(app, self.limits.seconds)

    async def _network(self, request: Request) -> Response:
        return JSONResponse(self.facts)

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(document(self.limits))

    async def _health(self, request: Request) -> Response:
        return JSONResponse(
            {
                "status": "ok",
                "network": self.facts["model"],
                "engine": self.work.engine,
                "uptime": round(time.monotonic() - self._begin, 3),
                "requests": self.requests,
                "waiting": self.work.waiting,
            }
        )

    async def _segment(self, request: Request) -> Response:
        asked = Asked.of(request.query_params.multi_items())
        _check_headers(request, self.limits)
        self.requests += 1
        held = _Held(self)
        try:
            async with asyncio.timeout(self.limits.seconds):
                data = await self._receive(request, held)
                _check_whole(request, data)
                answer = await _while_there(request, self.work.segment(data, asked))
            held.turn_into(len(answer.content))
        except TimeoutError:
            held.let_go()
            raise Refused.busy(f"the answer was not there in {self.limits.seconds:g} seconds") from None
        except Gone:
            held.let_go()
            return Response(status_code=499)  # which nobody reads
        except BaseException:
            held.let_go()
            raise
        sent = BackgroundTask(held.let_go)
        return Response(answer.content, media_type=answer.media_type, headers=answer.headers(), background=sent)

    async def _receive(self, request: Request, held: "_Held") -> bytes:
        """The body of a request.

        Raises:
            Refused: it is too large or too slow, or too many others are in memory.
            Gone: the client has left.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.receive):
                more = True
                while more:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    part, more = message.get("body", b""), message.get("more_body", False)
                    held.add(len(part))
                    body += part
        except TimeoutError:
            raise Refused(408, f"the body did not arrive in {self.limits.receive:g} seconds") from None
        return bytes(body)


class _Held:
    """The bytes of a request among those of all requests of a server."""

    def __init__(self, server: Server) -> None:
        self._server, self._own = server, 0

    def add(self, many: int) -> None:
        """Raises: Refused where the request has too many, or all together have."""
        limits = self._server.limits
        if self._own + many > limits.body:
            raise _too_large(limits)
        if self._server.held + many > limits.held:
            raise Refused.busy(f"{self._server.held:,} bytes of images and answers are in memory")
        self._own += many
        self._server.held += many

    def turn_into(self, many: int) -> None:
        """The bytes of the image are let go, and those of its answer are held until they are sent."""
        self.let_go()
        self._own = many
        self._server.held += many

    def let_go(self) -> None:
        """None is held any more."""
        self._server.held -= self._own
        self._own = 0


def _check_headers(request: Request, limits: Limits) -> None:
    """Raises: Refused where the headers alone say that the body is none that is taken."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "the body is compressed: send the image file as it is, without Content-Encoding")
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise Refused(415, "the body is a form: send the bytes of the image file alone, as curl --data-binary does")
    if int(request.headers.get("content-length", 0)) > limits.body:
        raise _too_large(limits)


def _check_whole(request: Request, data: bytes) -> None:
    """Raises: Refused where `curl -d @FILE` has dropped bytes that every image file has."""
    is_form = request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded")
    if is_form and data and not any(byte in data for byte in (b"\0", b"\r", b"\n")):
        raise Refused(
            415,
            "the body is no image file: `curl -d` sends words, and drops bytes of files; send it with "
            "`curl --data-binary @FILE`",
        )


def _too_large(limits: Limits) -> Refused:
    return Refused(413, f"the body has more than {limits.body:,} bytes: send a smaller file")


async def _while_there(request: Request, work: Awaitable[Answer]) -> Answer:
    """What the work returns; it is cancelled where the client leaves. Raises: Gone in that case."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Gone
        return await working
    finally:
        working.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _sender(file: File) -> Callable[[Request], Awaitable[Response]]:
    """Answers with a file, or where the browser has it that it is unchanged."""
    tag = f'"{hashlib.sha256(file.content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    async def send(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    return send


def error(status: int, why: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that is refused."""
    return Response(json.dumps({"error": why}), status, headers, "application/json")


async def _refused(request: Request, refused: Refused) -> Response:
    return error(refused.status, refused.why, refused.headers)


async def _http_error(request: Request, found: HTTPException) -> Response:
    """An address or a method that is not there; OPTIONS says which methods are."""
    if found.status_code == 405 and request.method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": f"{(found.headers or {})['Allow']}, OPTIONS"})
    if found.status_code == 405:
        allowed = " or ".join(sorted((found.headers or {})["Allow"].split(", ")))
        use = "send an image there, or open / in a browser" if allowed == "POST" else "images go to POST /api/segment"
        return error(405, f"this address takes the method {allowed}, not {request.method}: {use}", found.headers)
    return error(found.status_code, _SENTENCES.get(found.status_code, str(found.detail)), found.headers)


async def _failed(request: Request, failure: Exception) -> Response:
    say(f"a request failed: {described(failure)}", stderr=True)
    return error(500, "the server failed at this request; its log says why")


class _Frame:
    """What every answer has: the headers of security, an end of the connection where a body was not read, and a
    sentence where the server fails.

    Args:
        seconds: for which a client may read an answer.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app, self._seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(scope, receive, send, self._seconds)
        try:
            if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADER:
                raise Refused(431, f"the header of the request has more than {MOST_HEADER:,} bytes")
            if "content-length" in exchange.headers and "transfer-encoding" in exchange.headers:
                raise Refused(400, "the body has two lengths: send Content-Length, or Transfer-Encoding")
            if _rebound(scope["server"], exchange.headers.get("host", "")):
                raise Refused(421, "this server is for its own machine: ask 127.0.0.1 or localhost by that name")
            if exchange.headers.get("upgrade", "").lower() == "websocket":
                raise Refused(400, "there are no websockets here: send an image to /api/segment")
            await self._app(scope, exchange.receive, exchange.send)
        except Refused as refused:
            await error(refused.status, refused.why)(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:  # the server has waited for a few seconds
            if not exchange.begun:
                await error(503, "the server ends: send the request to another one")(scope, receive, exchange.send)
        except Exception:
            pass  # `_failed` has said and answered it; Starlette raises it once more


def _rebound(server: tuple[str, int | None] | None, host: str) -> bool:
    """Whether a loopback address was reached by a domain's name.

    A web page may let its own domain stand for 127.0.0.1, and would then read the answers as its own.

    Args:
        server: address and port that were reached.
        host: that header of the request.
    """
    if server is None or server[0] not in ("127.0.0.1", "::1"):
        return False
    name = host.rpartition(":")[0] or host
    return any(map(str.isalpha, name)) and "." in name and not name.lower().endswith("localhost")


class _Exchange:
    """A request and its answer.

    Args:
        seconds: for which the answer may be read.

    Attributes:
        headers: of the request.
        begun: whether the answer is.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, seconds: float) -> None:
        self.headers = Headers(scope=scope)
        self.begun = False
        self._receive, self._send, self._seconds = receive, send, seconds
        self._whole = self.headers.get("content-length", "0") == "0" and "transfer-encoding" not in self.headers

    async def receive(self) -> Message:
        message = await self._receive()
        self._whole = self._whole or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Returns when the client has read nearly all of a body; who takes too long is cut off: it does not end."""
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY.items():
                headers[name] = value
            if not self._whole:
                headers["Connection"] = "close"
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        if not self._whole:
            await self._linger()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await self._send({"type": "http.response.body", "body": b""})

    async def _linger(self) -> None:
        """Reads on for a while: where a connection is closed with unread bytes, the answer is lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while not self._whole:
                    await self.receive()
