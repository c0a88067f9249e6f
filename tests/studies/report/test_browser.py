"""The page in a browser: nothing is wider than a telephone, and the large view opens, moves and closes.

A probe is added to the page, and its hash to the page's policy: the page's own script runs under its own hash alone.
"""

import base64
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rtseg.studies.report import write_report
from tests.helpers.run_folder import NAMES, log_rows, write_checkpoint, write_examples_of, write_log

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium, as apt-get install chromium"),
]
PROBE = """
addEventListener("load", () => {
  const dialog = document.querySelector("dialog.large");
  const caption = () => dialog.querySelector(".caption").textContent;
  const press = (key) => dialog.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  const wide = Array.from(document.querySelectorAll("body *"))
    .filter((node) => !node.closest("pre") && node.getBoundingClientRect().right > innerWidth + 1)
    .map((node) => node.outerHTML.slice(0, 200));
  const cells = Array.from(document.querySelectorAll(".speeds td")).map((cell) => {
    const box = cell.getBoundingClientRect();
    return [cell.textContent, box.left, box.right, box.height];
  });
  const found = { width: innerWidth, scroll: document.documentElement.scrollWidth, wide, cells, closed: !dialog.open };
  const buttons = document.querySelectorAll("button.zoom");
  buttons[1].click();
  found.open = dialog.open;
  found.shown = dialog.querySelector("img").src === buttons[1].querySelector("img").src;
  found.inside = dialog.contains(document.activeElement);
  found.legend = Array.from(dialog.querySelectorAll(".key li"), (entry) => entry.textContent);
  found.large_scroll = document.documentElement.scrollWidth;
  const keys = ["ArrowRight", "ArrowDown", "ArrowLeft", "Home", "ArrowLeft", "x"];
  found.steps = keys.map((key) => (press(key), caption()));
  press("Home");
  dialog.addEventListener("close", () => {
    found.closes = !dialog.open;
    found.focus = document.activeElement === buttons[0];
    parent.postMessage(JSON.stringify(found), "*");
  });
  dialog.querySelector(".close").click();
});
"""


# Chromium's window has a least width, a frame has none.
FRAME = """<!doctype html>
<script>addEventListener("message", (event) => { document.documentElement.dataset.found = event.data; });</script>
<iframe src="page.html" style="width: WIDTHpx; height: 900px; border: 0"></iframe>
"""


def look(page: Path, width: int) -> dict[str, Any]:
    """What the probe finds in a frame that is `width` wide."""
    own = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    text = page.read_text().replace("script-src '", f"script-src 'sha256-{own}' '")
    page.write_text(text.replace("</body>", f"<script>{PROBE}</script></body>"))
    frame = page.with_name("frame.html")
    frame.write_text(FRAME.replace("WIDTH", str(width)))
    options = ["--headless=new", "--disable-gpu", "--window-size=1400,1000", "--virtual-time-budget=3000"]
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    home = {**os.environ, "HOME": str(page.parent)}
    command = ["chromium", *options, *sandbox, "--dump-dom", frame.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, env=home, check=True).stdout
    found = re.search(r'<html[^>]* data-found="([^"]*)"', dom)
    assert found, dom[:500]
    return dict(json.loads(html.unescape(found[1])))


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_and_the_large_view_works(run: Path, tmp_path: Path, width: int) -> None:
    names = ("<script>alert(1)</script>" * 6, "w" * 400, "two words", *NAMES[3:])
    files = ["a.png", "m" * 200 + ".png", "\u202eb <i>\n.png"]
    write_checkpoint(run, class_names=names, data_origin="o" * 300)
    write_log(run, [row | {f"val/iou_{name}": 0.5 for name in names} for row in log_rows()])
    write_examples_of(run, files)
    found = look(write_report(run, tmp_path / "page.html"), width)
    assert found["width"] == width
    assert found["scroll"] <= width
    assert not found["wide"]
    assert len(found["cells"]) == 6
    for text, left, right, height in found["cells"]:
        assert text.strip()
        assert 0 <= left < right <= width
        assert height > 0
    assert found["closed"]
    assert found["open"]
    assert found["shown"]
    assert found["inside"]
    assert found["large_scroll"] <= width
    assert found["legend"] == list(names), "of what the prediction shows"
    second = "m" * 200 + ".png"
    last = "drive/8"
    assert found["steps"] == ["a.png, truth", f"{second}, truth", f"{second}, prediction", "a.png, image", last, last]
    assert found["closes"]
    assert found["focus"]


def test_images_as_a_grid_open_too(run: Path, tmp_path: Path) -> None:
    """The page of a run that kept no single images."""
    found = look(write_report(run, tmp_path / "page.html"), 390)
    assert found["open"]
    assert found["scroll"] <= 390
