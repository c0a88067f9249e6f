"""`python -m tools.tables`: each table is written into its page, and what stands there is what the code makes."""

import re
import shutil
from pathlib import Path

import pytest

from rtseg.command_line import run_app
from tools.tables import app

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("command", "page"),
    [
        (["attentions"], "attention.md"),
        (["engines"], "benchmark.md"),
        (["speed", str(ROOT / "benchmarks/results")], "results.md"),
        (["table2", str(ROOT / "benchmarks/results/table2_cpu.json")], "pretraining.md"),
    ],
)
def test_the_page_has_the_table(command: list[str], page: str, tmp_path: Path) -> None:
    copy = Path(shutil.copy(ROOT / "docs" / page, tmp_path))
    before = copy.read_text()
    copy.write_text(re.sub(r"^(<!-- .*?-->\n).*?^(<!-- )", r"\1\2", before, count=1, flags=re.M | re.S))
    assert copy.read_text() != before
    with pytest.raises(SystemExit) as end:
        run_app(app, [*command, "--page", str(copy)])
    assert end.value.code in (0, None)
    assert copy.read_text() == before
