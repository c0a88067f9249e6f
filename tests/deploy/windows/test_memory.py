"""100 megapixels in windows: the most memory that the whole process takes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.segmenters import small

MOST = 1.5e9  # bytes
ENGINES = {"eager": "torch", "onnxruntime": "onnxruntime", "openvino": "openvino", "mnn": "MNN"}
# The most that the process had itself: what the system says of a child also counts the process that started it.
COMMAND = """
import sys
from pathlib import Path
from rtseg.cli import main
try:
    main(sys.argv[1:])
finally:
    print("peak", *(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, and images of 10000x10000 and 64x64 pixels."""
    folder = tmp_path_factory.mktemp("large")
    small(num_classes=19).save_pretrained(folder / "net")
    drawn = np.random.default_rng(0).integers(0, 256, (25, 25, 3), dtype=np.uint8)
    drawn = np.kron(drawn, np.ones((20, 20, 1), np.uint8))
    Image.fromarray(np.tile(drawn, (20, 20, 1))).save(folder / "big.png", compress_level=1)
    Image.fromarray(drawn[:64, :64]).save(folder / "tiny.png")
    return folder


def peak(folder: Path, image: str, *arguments: str) -> int:
    """Bytes."""
    command = ["predict", str(folder / "net"), str(folder / image), "--overwrite", "-o", str(folder / "out")]
    done = subprocess.run([sys.executable, "-c", COMMAND, *command, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split("peak")[-1]) * 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system does not tell the peak")
@pytest.mark.parametrize("files", [(), ("--no-overlay",)])
@pytest.mark.parametrize("engine", ENGINES)
def test_100_megapixels_take_less_than_1500_megabytes(folder: Path, engine: str, files: tuple[str, ...]) -> None:
    """With the graph in the cache: the exporter's own libraries take 0.3 GB in the process that exports."""
    pytest.importorskip(ENGINES[engine])
    peak(folder, "tiny.png", "--engine", engine)
    most = peak(folder, "big.png", "--engine", engine, "--tile", "512", "1024", *files)
    print(f"{engine} {' '.join(files)}: {most / 1e9:.2f} GB")
    assert most < MOST
    with Image.open(folder / "out/big.png") as written:
        assert written.size == (10_000, 10_000)
