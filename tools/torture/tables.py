"""Hostile files of a run folder, for `rtseg report`: benchmark.json, metrics.csv, config.yaml."""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tools.torture.case import Case, command_case
from tools.torture.worker import Answer

_SCRIPT = "<script>alert(1)</script>"
_IMAGE = '"><img src=x onerror=alert(1)>\x1b[31m'
_ACTIVE = re.compile(r"<script>alert|<img src=x|onerror=alert\(1\)>", re.I)


def report_cases(run: Path, folder: Path) -> Iterator[Case]:
    """Foreign texts where the page shows names and numbers; `run` has a benchmark.json."""
    report = json.loads((run / "benchmark.json").read_text())
    with (run / "metrics.csv").open(newline="") as lines:
        rows = list(csv.reader(lines))
    files: dict[str, tuple[str, str | bytes]] = {}
    for name, text in (("a script", _SCRIPT), ("an image", _IMAGE)):
        files[f"{name} for each text"] = ("benchmark.json", json.dumps(_replaced(report, str, text)))
        files[f"{name} for each number"] = ("benchmark.json", json.dumps(_replaced(report, (int, float), text)))
        files[f"{name} for each key"] = ("benchmark.json", json.dumps(_keys(report, text)))
        for k in range(3):
            some = json.dumps(_replaced(report, (str, int, float), text, every=7 + k))
            files[f"{name} here and there {k}"] = ("benchmark.json", some)
        heads = [[f"{head}{text}" if "iou" in head else head for head in rows[0]], *rows[1:]]
        files[f"{name} in a class's name"] = ("metrics.csv", _csv(heads))
        files[f"{name} for each value"] = ("metrics.csv", _csv([rows[0], *([text] * len(rows[0]) for _ in rows[1:])]))
        config = {"model": {"name": text, "attention": text}, "data": {"dataset": text}}
        files[f"{name} as the model"] = ("config.yaml", json.dumps(config))
    files |= {
        "numbers of 1e999": ("benchmark.json", json.dumps(_replaced(report, (int, float), float("inf")))),
        "numbers of NaN": ("metrics.csv", _csv([rows[0], *(["nan"] * len(rows[0]) for _ in rows[1:])])),
        "numbers of 1e999 in the log": ("metrics.csv", _csv([rows[0], *(["1e999"] * len(rows[0]) for _ in rows[1:])])),
        "a field of 1 MB": ("metrics.csv", _csv([rows[0], ["a" * 1_000_000] * len(rows[0])])),
        "rows of other lengths": ("metrics.csv", "step,epoch\n1\n1,2,3,4\n,,,,,\n"),
        "NUL": ("metrics.csv", "step,val/miou\n\0,1\n"),
        "no text": ("metrics.csv", b"\xff\xfe\x00\x01" * 50), "nothing": ("metrics.csv", ""),
        "brackets": ("benchmark.json", "[" * 100_000), "a list": ("benchmark.json", "[]"),
    }  # fmt: skip
    for k, (name, (file, content)) in enumerate(files.items()):
        copy, page = folder / f"run{k}", folder / f"page{k}.html"
        shutil.copytree(run, copy)
        if file == "config.yaml":
            for checkpoint in copy.glob("*.ckpt"):
                checkpoint.unlink()
        (copy / file).write_bytes(content.encode() if isinstance(content, str) else content)
        yield command_case(f"report, {file}: {name}", "report", copy, "-o", page, fault=partial(_active, page))


def _active(page: Path, answer: Answer) -> str | None:
    text = page.read_text(errors="replace") if page.is_file() else ""
    found = _ACTIVE.search(text)
    return f"the page holds {found[0]}" if found else "the page holds an escape code" if "\x1b" in text else None


def _replaced(value: Any, kinds: Any, by: Any, every: int = 1) -> Any:
    """Each `every`-th value of these kinds is another."""
    count = 0

    def walk(part: Any) -> Any:
        nonlocal count
        if isinstance(part, dict):
            return {key: walk(entry) for key, entry in part.items()}
        if isinstance(part, list):
            return [walk(entry) for entry in part]
        if isinstance(part, kinds) and not isinstance(part, bool):
            count += 1
            return by if count % every == 0 else part
        return part

    return walk(value)


def _keys(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {key: _keys(entry, text) for key, entry in value.items()} | {text: text}
    return [_keys(entry, text) for entry in value] if isinstance(value, list) else value


def _csv(rows: list[list[str]]) -> str:
    return "".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in rows)
