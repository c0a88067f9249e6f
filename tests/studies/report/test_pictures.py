"""The images of the page: prediction, truth and errors in exact colours, every name as text."""

import base64
import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtseg.deploy.drawing.overlay_colors import distinct_colors
from rtseg.errors import UserError
from rtseg.output.examples import IGNORED, WRONG, palette_image, read_examples
from rtseg.page.network import STATIC
from rtseg.studies.report import write_report
from tests.helpers.run_folder import NAMES, PALETTE, Page, write_checkpoint, write_examples_of

EVIL = [
    "<script>alert(1)</script>.png",
    "a\"b'c.png",
    "two\nlines.png",
    "x" * 300 + ".png",
    "\u202egnp.exe",
    "\x1b[31m",
]


def images(page: Page) -> list[np.ndarray]:
    """The images of the page, RGBA."""
    sources = [source.partition(",")[2] for source in page.pictures() if source]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source))).convert("RGBA")) for source in sources]


def test_examples_in_the_colours_of_the_legend(run: Path) -> None:
    examples = write_examples_of(run, ["a.png", "b.png"])
    page = Page(write_report(run))
    image, prediction, truth, errors = images(page)[:4]
    assert image.shape == (24, 32, 4)
    palette = distinct_colors(PALETTE)
    for drawn, expected in ((prediction, examples[0].prediction), (truth, examples[0].truth)):
        colours = np.array([*palette, *[(0, 0, 0)] * 245], np.uint8)
        assert (drawn[..., :3] == colours[expected]).all()
    assert (errors[examples[0].wrong][:, :3] == WRONG).all()
    assert (errors[0][:, :3] == IGNORED).all()
    assert (errors[12:, :, 3] == 0).all(), "right pixels let the page's ground through, in light and dark"
    legend = re.findall(
        r'<li data-class="\d+"><span class="swatch" style="background:(#\w{6})"></span><bdi>([^<]*)</bdi>', page.html
    )[:11]
    assert legend == [
        ("#{:02x}{:02x}{:02x}".format(*colour), name) for colour, name in zip(palette, NAMES, strict=True)
    ]
    share = examples[0].wrong.sum() / (23 * 32)
    assert f"a.png {share:.2%}".replace("%", " %") + " of the labelled pixels are wrong" in page.text
    assert page.text.index("What it sees") < page.text.index("IoU of each class") < page.text.index("Speed")


def test_a_class_that_no_image_shows_is_named(run: Path) -> None:
    assert "No image here shows" not in Page(write_report(run)).text
    write_examples_of(run, ["a.png"], size=(24, 9))
    assert "No image here shows pedestrian , bicyclist ." in Page(write_report(run)).text
    for name in ("best.ckpt", "last.ckpt"):
        (run / name).unlink(missing_ok=True)
    assert "No image here shows" not in Page(write_report(run)).text, "nothing says which number is which class"


def test_names_are_text(run: Path) -> None:
    write_examples_of(run, EVIL)
    (run / "predictions" / f"{EVIL[0].replace('/', '')}_overlay.jpg").write_bytes(
        (run / "predictions/drive/0_overlay.jpg").read_bytes()
    )
    page = Page(write_report(run))
    assert page.html.count("<script") == 1  # its own
    for name in (EVIL[0], EVIL[1], r"two\nlines.png", EVIL[3], r"\u202egnp.exe", r"\x1b[31m"):
        assert name in page.text
        alternatives = [value for tag, key, value in page.attributes if (tag, key) == ("img", "alt")]
        assert f"{name}: truth".replace(r"\n", "\n") in alternatives
    assert not set("\u202e\x1b") & set(page.html)
    assert {name for _, name, _ in page.attributes if name.startswith("on")} == set()


def test_only_the_own_script_may_run(run: Path) -> None:
    html = write_report(run).read_text()
    policy = re.search(r"Content-Security-Policy\" content=\"[^\"]*script-src 'sha256-([\w+/]{43}=)'\"", html)
    script = re.search(r'<script type="module">(.*)</script>', html, re.S)
    assert policy
    assert script
    assert policy[1] == base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert script[1].startswith((STATIC / "viewer.js").read_text()), "one viewer for the page and the report"


def test_class_maps_of_an_image_have_one_size_and_a_colour_for_each_class(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The viewer knows the classes by their colours, and lays the maps over each other."""
    monkeypatch.setattr("rtseg.studies.report.pictures._ROOM", 100_000)
    dark = tuple((k, 0, 0) for k in range(11))  # black, too, which is what is not labelled
    write_checkpoint(run, palette=dark)
    write_examples_of(run, ["a.png"], size=(240, 320))
    noise = np.random.default_rng(0).integers(0, 11, (240, 320), np.uint8)
    palette_image(noise, PALETTE).save(run / "pictures/step_000030/0_truth.png")
    page = Page(write_report(run))
    image, *maps = images(page)[:4]
    assert {one.shape for one in maps} == {(135, 180, 4)}, "noise is too large for its share of the page"
    assert image.shape == (240, 320, 4)
    legend = re.findall(r'<li data-class="\d+"><span class="swatch" style="background:(#\w{6})"', page.html)[:11]
    assert len(set(legend) | {"#000000"}) == 12


@pytest.mark.slow
def test_large_examples_stay_small_in_the_page(run: Path) -> None:
    """Noise is the worst that a PNG or a JPEG can meet."""
    examples = write_examples_of(run, [f"{k}.png" for k in range(12)], size=(360, 640))
    noise = np.random.default_rng(0).integers(0, 11, (360, 640), np.uint8)
    for k in range(12):
        for part in ("prediction", "truth"):
            file = run / f"pictures/step_000030/{k}_{part}.png"
            drawn = Image.open(file)
            drawn.putdata(noise.ravel())
            drawn.save(file)
    assert (read_examples(run / "pictures/step_000030")[0].truth == noise).all()
    assert len(examples) == 12
    assert write_report(run).stat().st_size < 3_000_000


def test_damaged_examples_are_named(run: Path) -> None:
    write_examples_of(run, ["a.png"])
    (run / "pictures/step_000030/0_truth.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"0_truth.png: not a readable image"):
        write_report(run)
