"""The page of a run as HTML: what anybody named stays text, and it can be read on a telephone and in the dark."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml
from jinja2 import UndefinedError

from rtseg.output.page import render
from rtseg.page.network import STATIC
from rtseg.studies.report import write_report
from tests.helpers.run_folder import NAMES, Page, log_rows, write_checkpoint, write_log, write_picture

EVIL = "<script>alert(1)</script>"
FOLDER = Path(write_report.__code__.co_filename).parent


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose folder, files, classes, model, data set and settings all have names that want to be HTML."""
    run = tmp_path / "run <b>&"
    run.mkdir()
    names = (EVIL, "a&amp;b", *NAMES[2:])
    write_log(run, [row | {f"val/iou_{name}": 0.5 for name in names} for row in log_rows() if row])
    write_checkpoint(run, class_names=names, dataset=f"data{EVIL}")
    write_picture(run / "pictures/step_000030.jpg", (12, 36))
    write_picture(run / f"predictions/{EVIL.replace('/', '')}_overlay.jpg", (12, 16))
    settings = {"data": {"root": f'"{EVIL}', "dataset": EVIL}, "trainer": {"precision": "</p><script>"}}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    return run


def test_names_are_text_wherever_they_come_from(run: Path) -> None:
    page = Page(write_report(run))
    assert page.html.count("<script") == 1  # its own
    assert "<b>&" not in page.html
    for name in (EVIL, "a&amp;b", "run <b>&", f"data{EVIL}", EVIL.replace("/", ""), "precision </p><script>"):
        assert name in page.text, name
    for drawing in re.findall(r"<svg.*?</svg>", page.html, re.S):
        ElementTree.fromstring(drawing)


def test_a_template_escapes_and_misses_nothing(tmp_path: Path) -> None:
    template = tmp_path / "page.html"
    template.write_text("<p>{{ name }}</p>")
    assert render(template, name=EVIL) == "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        render(template)


def test_it_follows_dark_mode_and_narrow_screens(run: Path) -> None:
    html = write_report(run).read_text()
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    assert html.count("prefers-color-scheme:dark") + html.count("prefers-color-scheme: dark") == 2  # page and charts
    style = "".join(file.read_text() for file in (STATIC / "base.css", STATIC / "viewer.css", FOLDER / "style.css"))
    widths = [float(width) for width in re.findall(r"(?<!max-)(?<!min-)\bwidth:\s*([\d.]+)rem", style)]
    assert max(widths, default=0) < 390 / 16
    # Colours are named once for light and once for dark, and used by name.
    light, dark = (set(re.findall(r"(--\w+):", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S))
    assert light == dark
    assert set(re.findall(r"var\((--\w+)\)", style)) <= light | {"--display", "--tallest"}


def test_every_template_is_installed() -> None:
    """`pyproject.toml` names them by their endings."""
    files = {file.suffix for file in FOLDER.iterdir() if file.is_file()}
    packaged = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    for suffix in files - {".py"}:
        assert f'"studies/report/*{suffix}"' in packaged
