"""The files of docs/plugins.md, and commands run in a process of their own, since what is loaded stays."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
        f"{first}\nimport contextlib, io, json, sys\nfrom rtseg.cli import main\nfor line in json.loads(sys.argv[1]):\n"
        "    said = io.StringIO()\n    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):\n"
        "        try: status = main(line) or 0\n        except SystemExit as end: status = end.code\n"
        "    print(json.dumps([status, said.getvalue()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(lines)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]
