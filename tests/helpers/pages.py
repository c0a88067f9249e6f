"""Pages in Debian's Chromium, given out by a server of one folder on this machine."""

import functools
import http.server
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtseg.page.runtime import VERSION

ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
PATIENCE = 180.0  # seconds


def runtime_folder(folder: Path) -> Path:
    """The package onnxruntime-web: RTSEG_ORT_WEB, or what `npm pack` fetches; the test is skipped without both."""
    if given := os.environ.get("RTSEG_ORT_WEB"):
        return Path(given)
    if shutil.which("npm") is None:
        pytest.skip("no npm here, and RTSEG_ORT_WEB is not set: there is no onnxruntime-web")
    pack = ["npm", "pack", f"onnxruntime-web@{VERSION}", "--silent"]
    if subprocess.run(pack, cwd=folder, check=False, capture_output=True).returncode:
        pytest.skip("npm cannot fetch onnxruntime-web, and RTSEG_ORT_WEB is not set")
    shutil.unpack_archive(folder / f"onnxruntime-web-{VERSION}.tgz", folder, filter="data")
    return folder / "package"


@contextmanager
def served(folder: Path, headers: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of a folder, which is reachable while the block runs."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def copyfile(self, source: Any, outputfile: Any) -> None:
            with suppress(ConnectionError):  # a browser that is closed in the middle
                super().copyfile(source, outputfile)

        def end_headers(self) -> None:
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            super().end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def browser(*arguments: str, size: tuple[int, int] = (900, 1280), dark: bool = False) -> Iterator[Any]:
    """A headless Chromium under selenium; the test is skipped where one of them is missing.

    Args:
        size: (height, width) of the window.
    """
    webdriver = pytest.importorskip("selenium.webdriver")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no chromium, or no chromedriver, here: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    usual = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={size[1]},{size[0]}")
    for argument in (*usual, *arguments):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        found.set_script_timeout(PATIENCE)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        found.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        yield found
    finally:
        found.quit()


class Page:
    """The page in a browser.

    Args:
        driver: of selenium.
        address: of the page.
        starts: whether to wait until it takes images.
    """

    def __init__(self, driver: Any, address: str, *, starts: bool = True) -> None:
        self.driver = driver
        driver.get(address)
        if starts:
            self.wait(lambda: self.find("file").is_enabled())

    def find(self, id: str) -> Any:
        return self.driver.find_element("id", id)

    def text(self, id: str) -> str:
        return self.find(id).text

    def js(self, code: str, *given: Any) -> Any:
        return self.driver.execute_script(code, *given)

    def wait(self, done: Callable[[], Any]) -> None:
        until = time.monotonic() + PATIENCE
        while not done():
            seen = f"status: {self.text('status')!r}, error: {self.text('error')!r}"
            assert time.monotonic() < until, f"{seen}, console: {self.driver.get_log('browser')}"
            time.sleep(0.1)

    def open(self, file: Path) -> None:
        """Gives a file to the page, and waits for its class map, or for an error."""
        self.js("rtseg.before = rtseg.viewer.result; document.getElementById('error').hidden = true")
        self.find("file").send_keys(str(file))
        self.wait(self._is_done)

    def _is_done(self) -> bool:
        shown = self.js("return rtseg.viewer.result !== rtseg.before") and not self.text("status").endswith("…")
        return bool(shown) or self.find("error").is_displayed()

    def class_map(self) -> np.ndarray:
        """(H, W) class numbers that it shows."""
        height, width, numbers = self.js(
            "const { height, width, classes } = rtseg.viewer.result; return [height, width, Array.from(classes)]"
        )
        return np.array(numbers).reshape(height, width)


def requests(net_log: Path, page: str) -> set[str]:
    """Addresses that a page and its threads asked for.

    Args:
        net_log: what `--log-net-log` wrote, of a browser that has ended.
        page: its address.
    """
    told = [event.get("params", {}) for event in json.loads(net_log.read_text())["events"]]
    origin = page.rstrip("/")
    return {one["url"] for one in told if "url" in one and one.get("initiator") == origin}
