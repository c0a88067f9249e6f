"""The files of docs/plugins.md, and commands run in a process of their own, since what is loaded stays."""

import json
import re
from pathlib import Path

from tests.helpers.fresh import ROOT, run_fresh


def write_plugins(folder: Path) -> None:
    """Every file of docs/plugins.md."""
    files = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", (ROOT / "docs" / "plugins.md").read_text(), re.M | re.S)
    for name, code in files:
        (folder / name).write_text(code)


def commands(folder: Path, *lines: list[str], first: str = "") -> list[tuple[int, str]]:
    """Exit status and what each command printed, run after one another in one new process.

    Args:
        first: Python code that runs before them.
    """
    program = (
        f"{first}\nimport contextlib, io, json\nfrom rtseg.cli import main\nfor line in {lines!r}:\n"
        "    said = io.StringIO()\n    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):\n"
        "        try: status = main(line) or 0\n        except SystemExit as end: status = end.code\n"
        "    print(json.dumps([status, said.getvalue()]))"
    )
    status, out, err = run_fresh(program, folder, COLUMNS="300")
    assert status == 0, err
    return [tuple(json.loads(line)) for line in out.splitlines() if line.startswith("[")]
