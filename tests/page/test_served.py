"""The same page over `rtseg serve`, whose class maps come from the server."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtseg.deploy.predictor import load
from rtseg.scenes import draw_scene
from tests.helpers.networks import tiny_segmenter
from tests.helpers.pages import Page, browser

pytestmark = pytest.mark.slow


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    tiny_segmenter().save_pretrained(tmp_path / "net")
    words = ["serve", "net", "--port", "0", "--engine", "eager", "--device", "cpu", "--max-pixels", "30000"]
    command = [sys.executable, "-m", "rtseg", *words]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        process.terminate()
        process.wait(30)


def test_class_maps_and_margins_come_from_the_server(address: str, tmp_path: Path) -> None:
    drawn = draw_scene(np.random.default_rng(0), (131, 203))[0]
    Image.fromarray(drawn).save(tmp_path / "street.png")
    Image.fromarray(drawn.repeat(2, 0)).save(tmp_path / "large.png")
    expected = load(tmp_path / "net", engine="eager", device="cpu").predict(tmp_path / "street.png")
    with browser() as driver:
        page = Page(driver, address)
        assert page.text("engine") == "The network runs on the server."
        page.open(tmp_path / "street.png")
        assert page.text("error") == ""
        assert (page.class_map() == expected.class_map).all()
        margins = np.array(page.js("return Array.from(rtseg.viewer.result.margins)")).reshape(131, 203)
        np.testing.assert_allclose(margins, expected.margin.clip(0, 65.535), atol=1e-3)
        assert "on the way" in page.text("times")
        page.open(tmp_path / "large.png")
        assert "0.1 million pixels" in page.text("error")
        page.find("example").click()
        page.wait(lambda: page.text("status").startswith("The example:"))
