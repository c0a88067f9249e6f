"""`rtseg page`: a folder that any web server gives out, and in which a network runs in the browser of its visitor."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from rtseg.data.files import read_image
from rtseg.deploy.exports.program import INPUT
from rtseg.deploy.graph import written
from rtseg.errors import UserError
from rtseg.output.folders import check_empty
from rtseg.output.lock import locked_target
from rtseg.page.graph import OUTPUT, PageGraph, page_graph
from rtseg.page.network import NETWORK, describe_network, drawn_example, static_files
from rtseg.page.runtime import CDN, FOLDER, check_runtime, copy_runtime, describe_runtime, integrity, most_loaded
from rtseg.terminal import say

GRAPH, EXAMPLE = "network.onnx", "example.png"
MOST_SEEN = 2**21  # pixels that the network sees at once: a tab of a phone has a few hundred megabytes
MOST_SHOWN = 2**24  # pixels of an image; phones' browsers have no larger canvas
_HERE = "connect-src 'self'"  # of the page's Content-Security-Policy


def write_page(
    source: str,
    folder: Path,
    *,
    size: tuple[int, int] | None = None,
    runtime: Path | None = None,
    example: Path | None = None,
) -> None:
    """Writes a page, whole or not at all, and says how to look at it.

    Args:
        source: see `page_graph`.
        folder: is made; it may be there if it is empty.
        size: (height, width) to which the page resizes images; None shows them to the network as `rtseg predict` does.
        runtime: folder of onnxruntime-web, which is copied; None fetches it from a CDN when the page is opened.
        example: an image for visitors to start with; None for a drawn street.

    Raises:
        UserError: see `page_graph` and `check_runtime`; the folder is not empty or cannot be written to; the example
            cannot be read; or a size below 1 or above `MOST_SEEN`.
    """
    if size is not None and min(size) < 1:
        raise UserError(f"--size {size[0]} {size[1]}: whole numbers of at least 1 are needed")
    if size is not None and size[0] * size[1] > MOST_SEEN:
        raise UserError(f"--size {size[0]} {size[1]}: a browser's tab has memory for {MOST_SEEN:,} pixels: give less")
    dist = None if runtime is None else check_runtime(runtime)
    shown = None if example is None else read_image(example, MOST_SHOWN)
    check_empty(folder, "give another folder, or remove it")
    with locked_target(folder):
        graph = page_graph(source, size)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.absolute().parent) as aside:
            page = Path(aside) / "page"
            page.mkdir()
            _fill(page, graph, dist)
            Image.fromarray(drawn_example(graph.card, graph.size) if shown is None else shown).save(page / EXAMPLE)
            if folder.exists():
                folder.rmdir()  # empty
            page.rename(folder)
    _say(folder, graph, dist)


def _fill(page: Path, graph: PageGraph, dist: Path | None) -> None:
    """All but the example."""
    for name, file in static_files().items():
        shutil.copyfile(file, page / name)
    if dist is None:
        index = page / "index.html"
        index.write_text(index.read_text("utf-8").replace(_HERE, f"{_HERE} {CDN}"), "utf-8")
    else:
        copy_runtime(dist, page)
    (page / GRAPH).write_bytes(graph.model)
    base = CDN if dist is None else f"{FOLDER}/"
    (page / NETWORK).write_text(json.dumps(_network(graph, base), indent=1))


def _network(graph: PageGraph, runtime: str) -> dict[str, Any]:
    card = graph.card
    return describe_network(
        card,
        "browser",
        most_pixels=MOST_SHOWN,
        graph={
            "file": GRAPH,
            "bytes": len(graph.model),
            "integrity": integrity(hashlib.sha384(graph.model).digest()),
        },
        input={
            "name": INPUT,
            "type": graph.dtype,
            "size": graph.size,
            "resize": card.eval_resize,
            "most_pixels": MOST_SEEN,
        },
        output=OUTPUT,
        upsampling=card.upsampling,
        runtime=describe_runtime(runtime),
        example={"file": EXAMPLE},
        files=[*static_files(), EXAMPLE],
    )


def _say(folder: Path, graph: PageGraph, dist: Path | None) -> None:
    total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    sizes = f"images of {written(graph.size)}" if graph.size else "images of any size"
    say(f"{folder}: {graph.card.model}, {graph.card.num_classes} classes, {sizes}, {total / 2**20:.1f} MiB")
    if dist is None:
        say(
            f"It needs the internet: its first visit loads at most {most_loaded() / 1e6:.1f} MB of onnxruntime-web "
            f"from {CDN}. --runtime copies them into the folder instead (docs/page.md)."
        )
    say("Images stay in the visitor's browser; the network's weights are there for every visitor to copy.")
    say(f"Look at it: python -m http.server --bind 127.0.0.1 -d {folder}, then open http://127.0.0.1:8000")
