"""The page in a browser: nothing is wider than a telephone, and the viewer names each pixel as it was predicted."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtseg.output.examples import WRONG
from rtseg.studies.report import write_report
from tests.helpers.pages import browser
from tests.helpers.run_folder import NAMES, log_rows, write_checkpoint, write_examples_of, write_log

pytestmark = pytest.mark.slow
WIDE = """
return Array.from(document.querySelectorAll("body *"))
  .filter((node) => !node.closest("pre") && node.getBoundingClientRect().right > innerWidth + 1)
  .map((node) => node.outerHTML.slice(0, 200));
"""
CELLS = """
return Array.from(document.querySelectorAll(".speeds td")).map((cell) => {
  const { left, right, height } = cell.getBoundingClientRect();
  return [cell.textContent, left, right, height];
});
"""
COLOUR = "return [...document.querySelector('.colours').getContext('2d').getImageData(...arguments, 1, 1).data]"


@contextmanager
def opened(page: Path, width: int = 1280, *, first: str = "") -> Iterator[Any]:
    """The page as a file, in a window that is `width` wide. `first` runs before the page's script."""
    with browser() as driver:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 800}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": first})
        driver.get(page.as_uri())
        yield driver


def find(driver: Any, selector: str) -> Any:
    return driver.find_element("css selector", selector)


def wait_for(driver: Any, selector: str, text: str) -> None:
    until = time.monotonic() + 30
    while text not in (said := find(driver, selector).text):
        assert time.monotonic() < until, (selector, said, driver.get_log("browser"))
        time.sleep(0.05)


def shares(driver: Any) -> dict[str, str]:
    """What the legend says."""
    found = driver.find_elements("css selector", ".class")
    return {find(one, ".name").text: find(one, ".share").text for one in found}


def percents(class_map: np.ndarray, names: tuple[str, ...]) -> dict[str, str]:
    return {names[k]: f"{(class_map == k).mean():.1%}".replace("%", " %") for k in np.unique(class_map)}


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut(run: Path, tmp_path: Path, width: int) -> None:
    names = ("<script>alert(1)</script>" * 6, "w" * 400, "two words", *NAMES[3:])
    files = ["a.png", "m" * 200 + ".png", "\u202eb <i>\n.png"]
    write_checkpoint(run, class_names=names, data_origin="o" * 300)
    write_log(run, [row | {f"val/iou_{name}": 0.5 for name in names} for row in log_rows()])
    write_examples_of(run, files)
    with opened(write_report(run, tmp_path / "page.html"), width) as driver:
        wait_for(driver, ".look .count", "1 of 3")
        find(driver, ".look .next").click()
        wait_for(driver, ".look .count", "2 of 3")
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        assert driver.execute_script(WIDE) == []
        cells = driver.execute_script(CELLS)
        assert len(cells) == 6
        for text, left, right, height in cells:
            assert text.strip()
            assert 0 <= left < right <= width
            assert height > 0
        assert set(shares(driver)) == set(names)


def test_a_pixel_by_mouse_and_keyboard(run: Path, tmp_path: Path) -> None:
    from selenium.webdriver import ActionChains, Keys

    example, _ = write_examples_of(run, ["a.png", "b.png"])
    with opened(write_report(run, tmp_path / "page.html")) as driver:
        wait_for(driver, ".look .what", "a.png")
        assert shares(driver) == percents(example.prediction, NAMES)
        stage = find(driver, ".stage")
        driver.execute_script("arguments[0].scrollIntoView({ block: 'center' })", stage)
        place = stage.rect
        x, y = ((7 + 0.5) / 32 - 0.5) * place["width"], ((5 + 0.5) / 24 - 0.5) * place["height"]
        ActionChains(driver).move_to_element_with_offset(stage, x, y).click().perform()
        said = find(driver, ".said")
        assert said.text == "Row 5, column 7: predicted road, true fence."
        find(driver, "input[value=truth]").click()
        wait_for(driver, ".side .legend", "not labelled")
        assert said.text.startswith("Row 5, column 7: "), "the pixel stays"
        truth = np.where(example.truth == 255, len(NAMES), example.truth)
        assert shares(driver) == percents(truth, (*NAMES, "not labelled"))
        stage.send_keys(Keys.ARROW_LEFT * 4)
        assert said.text == "Row 5, column 3: predicted road, which is right."
        stage.send_keys(Keys.SHIFT + Keys.ARROW_UP)
        assert said.text == "Row 0, column 3: predicted road, not labelled."


def test_errors_the_slider_and_other_images(run: Path, tmp_path: Path) -> None:
    from selenium.webdriver import Keys

    example, _ = write_examples_of(run, ["a.png", "b.png"])
    with opened(write_report(run, tmp_path / "page.html")) as driver:
        wait_for(driver, ".look .count", "1 of 2")
        find(driver, "input[value=prediction]").send_keys(Keys.ARROW_LEFT)  # the last of the three
        wait_for(driver, ".side .legend", "right")
        wrong = np.where(example.truth == 255, 2, example.wrong)
        assert shares(driver) == percents(wrong, ("right", "wrong", "not labelled"))
        assert driver.execute_script(COLOUR, 7, 5) == [*WRONG, 255]
        assert driver.execute_script(COLOUR, 7, 20)[3] == 0, "right pixels let the image through"
        find(driver, "input[type=range]").send_keys(Keys.HOME, Keys.ARROW_RIGHT)
        assert driver.execute_script("return document.querySelector('.colours').style.opacity") == "0.01"
        find(driver, ".look .previous").send_keys(Keys.ENTER)
        wait_for(driver, ".look .what", "b.png")
        assert set(shares(driver)) == {"right", "wrong", "not labelled"}, "what was chosen stays chosen"
        find(driver, ".example .choose.truth").send_keys(Keys.SPACE)
        wait_for(driver, ".look .what", "a.png")
        assert find(driver, "input[value=truth]").is_selected()
        assert driver.switch_to.active_element == find(driver, ".stage")
        pressed = [
            one.get_attribute("data-kind") for one in driver.find_elements("css selector", "[aria-pressed=true]")
        ]
        assert pressed == ["truth"]


@pytest.mark.parametrize("without", ["script", "exact colours"])
def test_pictures_show_without_the_viewer(run: Path, tmp_path: Path, without: str) -> None:
    """Where scripts do not run, and where the browser hides the colours that a page reads."""
    write_examples_of(run, ["a.png"])
    page, first = write_report(run, tmp_path / "page.html"), ""
    if without == "script":
        page.write_text(page.read_text().replace("script-src 'sha256-", "script-src 'sha256-0"))
    else:
        first = """const read = CanvasRenderingContext2D.prototype.getImageData;
        CanvasRenderingContext2D.prototype.getImageData = function (...place) {
          const found = read.apply(this, place);
          found.data[0] ^= 1;
          return found;
        };"""
    with opened(page, first=first) as driver:
        time.sleep(1)
        assert not find(driver, ".look").is_displayed()
        images = driver.find_elements("css selector", ".example img")
        assert len(images) == 4
        assert all(one.is_displayed() and one.get_property("naturalWidth") == 32 for one in images)


def test_images_as_a_grid(run: Path, tmp_path: Path) -> None:
    """The page of a run that kept no single images."""
    with opened(write_report(run, tmp_path / "page.html"), 390) as driver:
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
        assert not driver.find_elements("css selector", ".look")
        assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
