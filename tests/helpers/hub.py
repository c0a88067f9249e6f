"""A Hugging Face hub on this machine, as far as files are fetched from one and sent to one."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any


@contextmanager
def hub_of(
    repositories: dict[str, Path], commits: dict[str, str] | None = None, sizes: dict[str, int] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Serves a folder for each 'owner/name'.

    Args:
        commits: the newest of each repository; 40 times "c" where it has none.
        sizes: what is stated of a file, by its name, in place of its size.

    Returns:
        Its address, and what it was asked for, as "HEAD /owner/name/resolve/main/config.json".
    """
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(f"{self.command} {self.path}")
            repository, _, rest = self.path.strip("/").partition("/resolve/")
            folder, file = repositories.get(repository), rest.partition("/")[2]
            content = (folder / file).read_bytes() if folder and (folder / file).is_file() else None
            self.send_response(200 if content is not None else 404)
            if content is None:
                self.send_header("X-Error-Code", "EntryNotFound" if folder else "RepoNotFound")
            revision = rest.partition("/")[0]
            newest = (commits or {}).get(repository, "c" * 40)
            self.send_header("X-Repo-Commit", newest if revision == "main" else revision)
            self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
            self.send_header("Content-Length", str((sizes or {}).get(file, len(content or b""))))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        do_GET = do_HEAD

        def log_message(self, *_: Any) -> None:
            pass

    with _served(Hub) as address:
        yield address, asked


@contextmanager
def writable_hub(room: Path, token: str, public: dict[str, bool]) -> Iterator[str]:
    """A hub that takes files from whoever has the token.

    Args:
        room: what is sent to 'owner/name' is in this folder below it.
        token: others get an answer of 401.
        public: the repositories that are there, and whether everybody sees them.

    Returns:
        Its address.
    """

    class Hub(BaseHTTPRequestHandler):
        def answer(self, status: int, content: dict[str, Any], **headers: str) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Type": "application/json", "Content-Length": len(body)}.items():
                self.send_header(name.replace("_", "-"), str(value))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            repository = self.path.removeprefix("/api/models/").partition("?")[0]
            if repository in public:
                self.answer(200, {"id": repository, "private": not public[repository], "sha": "c" * 40})
            else:
                self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Authorization") != f"Bearer {token}":
                self.answer(401, {"error": "Invalid credentials in Authorization header"})
            elif self.path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                if asked["organization"] != "somebody":
                    self.answer(403, {"error": "You don't have the rights to create a model under this namespace"})
                    return
                public[name] = not (asked.get("private") or asked.get("visibility") == "private")
                self.answer(200, {"url": f"http://{self.headers['Host']}/{name}"})
            elif self.path == "/api/validate-yaml":
                self.answer(200, {"warnings": [], "errors": []})
            elif "/preupload/" in self.path:
                files = [file["path"] for file in json.loads(body)["files"]]
                modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in files]
                self.answer(200, {"files": modes})
            else:
                repository = self.path.removeprefix("/api/models/").partition("/commit/")[0]
                for line in map(json.loads, body.decode().splitlines()):
                    if line["key"] == "file":
                        target = room / repository / line["value"]["path"]
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(base64.b64decode(line["value"]["content"]))
                self.answer(
                    200, {"commitUrl": f"http://{self.headers['Host']}/{repository}/commit/1", "commitOid": "c" * 40}
                )

        def log_message(self, *_: Any) -> None:
            pass

    with _served(Hub) as address:
        yield address


@contextmanager
def _served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
