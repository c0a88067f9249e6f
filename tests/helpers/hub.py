"""A Hugging Face hub on this machine, as far as files are fetched from one."""

import hashlib
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

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
