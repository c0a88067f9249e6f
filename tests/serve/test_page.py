"""The page of a server in Chromium: the server's class maps are shown, and its refusals are read."""

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rtseg.deploy.predictor import Predictor
from rtseg.models.segmenter import Segmenter
from rtseg.serve.limits import Limits
from tests.helpers.pages import Page, browser
from tests.helpers.server import served
from tests.serve.test_api import image, turned

pytestmark = pytest.mark.slow
DROP = """
const [data] = arguments;
const file = new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], "dropped.png", { type: "image/png" });
const transfer = new DataTransfer();
transfer.items.add(file);
rtseg.before = rtseg.viewer.result;
document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
"""


@pytest.fixture(scope="module")
def predictor(shared_segmenter: Segmenter) -> Predictor:
    return Predictor(shared_segmenter, engine="eager", device="cpu")


@pytest.fixture(scope="module")
def page(predictor: Predictor) -> Iterator[Page]:
    with served(predictor, Limits(body=20_000)) as client, browser() as driver:
        yield Page(driver, f"http://127.0.0.1:{client.port}/")


def test_class_maps_are_those_of_the_engine(page: Page, predictor: Predictor, tmp_path: Path) -> None:
    assert "server" in page.text("engine")
    for name, data in {"turned.jpg": turned(), "plain.png": image()}.items():
        (tmp_path / name).write_bytes(data)
        page.open(tmp_path / name)
        assert page.text("error") == ""
        found = predictor.predict(tmp_path / name)
        assert (_shown(page) == found.class_map).all()
        margins = np.array(page.js("return Array.from(rtseg.viewer.result.margins)")).reshape(found.class_map.shape)
        assert np.abs(margins - found.margin).max() <= 0.0006
        for area in found.areas[:2]:
            assert area.name in page.text("status")
        for stage in ("network", "decoding", "on the way"):
            assert stage in page.text("times")


def test_an_image_that_is_dropped(page: Page, predictor: Predictor, tmp_path: Path) -> None:
    data = image(size=(48, 36))
    (tmp_path / "dropped.png").write_bytes(data)
    page.js(DROP, b64encode(data).decode())
    page.wait(lambda: page.js("return rtseg.viewer.result !== rtseg.before"))
    assert (_shown(page) == predictor(tmp_path / "dropped.png")).all()


def test_the_example_and_what_is_refused(page: Page, tmp_path: Path) -> None:
    page.js("rtseg.before = rtseg.viewer.result")
    page.find("example").click()
    page.wait(lambda: page.js("return rtseg.viewer.result !== rtseg.before"))
    assert _shown(page).shape == (40, 48), "the size of the training"
    (tmp_path / "several.tif").write_bytes(image("TIFF"))
    page.open(tmp_path / "several.tif")
    assert "not an image that this browser can open" in page.text("error")
    (tmp_path / "animated.gif").write_bytes(image("GIF"))
    page.open(tmp_path / "animated.gif")
    assert "PNG, JPEG, BMP, WebP or TIFF" in page.text("error"), "what the server says"
    (tmp_path / "large.bmp").write_bytes(image("BMP", (100, 100)))
    page.open(tmp_path / "large.bmp")
    assert "the server takes" in page.text("error")
    broken = [entry for entry in page.driver.get_log("browser") if "Content Security" in entry["message"]]
    assert broken == []


def _shown(page: Page) -> np.ndarray:
    height, width, numbers = page.js(
        "const { height, width, classes } = rtseg.viewer.result; return [height, width, Array.from(classes)]"
    )
    return np.array(numbers).reshape(height, width)
