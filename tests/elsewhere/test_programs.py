"""The programs of docs/run-it-elsewhere.md run exported files without rtseg, and see files that are wrong."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.exports.proving import prove
from rtseg.deploy.graph import Graph
from rtseg.models.segmenter import Segmenter
from tests.helpers.exports import write_proven
from tests.helpers.networks import SHAPE

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "run-it-elsewhere.md"
PROGRAMS = ["segment.py", "segment.cpp", "segment.js"]


@pytest.mark.parametrize("name", [*PROGRAMS, "proof.hpp"])
def test_the_page_shows_each_program_as_it_is(name: str) -> None:
    assert (HERE / name).read_text() in re.findall(r"^```\w+\n(.*?)^```", PAGE.read_text(), re.S | re.M)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_are_short_and_without_rtseg(name: str) -> None:
    text = (HERE / name).read_text()
    code = [line for line in text.splitlines() if not re.match(r"\s*($|//|#)", line)]
    assert len(code) <= 30
    assert not re.search(r"\b(import|from) (rtseg|torch)\b", text)


@pytest.fixture(scope="module")
def right(shared_segmenter: Segmenter) -> Proof:
    return prove(shared_segmenter, SHAPE)


@pytest.fixture(scope="module")
def wrong(right: Proof) -> Proof:
    """Blue and red exchanged: as if the program did it."""
    return Proof(right.image[..., ::-1].copy(), right.class_map, right.least_equal_percent, right.source)


def check(command: list[str], graph: Graph, right: Proof, wrong: Proof, folder: Path, kind: str = "onnx") -> None:
    """A program's status is 0 for a file that is right, else 1."""
    for proof, status in ((right, 0), (wrong, 1)):
        file = write_proven(folder, graph, proof, kind)  # type: ignore[arg-type]
        done = subprocess.run([*command, file], capture_output=True, text=True, check=False)
        assert re.fullmatch(r"[\d.]+ % of the pixels are equal\n", done.stdout), done.stderr
        assert done.returncode == status, done.stdout


@pytest.mark.slow
def test_python(logits_graph: Graph, right: Proof, wrong: Proof, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    check([sys.executable, str(HERE / "segment.py")], logits_graph, right, wrong, tmp_path)


@pytest.mark.slow
def test_cpp(logits_graph: Graph, right: Proof, wrong: Proof, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    if shutil.which("g++") is None or not Path("/usr/include/png.h").is_file():
        pytest.skip("needs g++ and libpng's header")
    found = Path(openvino.__path__[0])
    (library,) = (found / "libs").glob("libopenvino.so.*")
    program = str(tmp_path / "segment")
    places = [f"-I{found / 'include'}", str(library), "-lpng", f"-Wl,-rpath,{found / 'libs'}"]
    source = str(HERE / "segment.cpp")
    subprocess.run(["g++", "-O2", "-std=c++17", "-Wall", "-Werror", source, *places, "-o", program], check=True)
    check([program], logits_graph, right, wrong, tmp_path, "xml")


@pytest.mark.slow
def test_javascript(logits_graph: Graph, right: Proof, wrong: Proof, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("needs node and npm")
    shutil.copy(HERE / "segment.js", tmp_path)
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "onnxruntime-node", "pngjs"]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        pytest.skip(f"npm cannot install onnxruntime-node here: {done.stderr[-200:]}")
    check(["node", str(tmp_path / "segment.js")], logits_graph, right, wrong, tmp_path)
