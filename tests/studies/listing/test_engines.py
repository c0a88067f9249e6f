"""The table of engines is the registry's, and says what is missing here."""

import re
import sys

import pytest

from rtseg.cli import main
from rtseg.deploy.engines import engine_classes, list_backends
from rtseg.studies.listing.engines import markdown


def test_the_page_has_rtsegs_own_engines() -> None:
    assert re.findall(r"^\| `(.*?)` \|", markdown(), re.M) == [kind.backend for kind in engine_classes()]


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    main_exits(["list", "backends", "--details"])
    whole = capsys.readouterr().out
    assert set(list_backends()) <= set(re.findall(r"[a-z-]+", whole))
    for library in ("openvino", "nncf"):
        monkeypatch.setitem(sys.modules, library, None)
    main_exits(["list", "backends", "--details"])
    assert capsys.readouterr().out.count("pip install 'rtseg[openvino]'") == 1


def test_which_run_here_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    main_exits(["list", "backends"])
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert said.keys() >= set(list_backends())
    assert re.search(r"^eager +on cpu", said["eager"])
    assert re.search(r"^cudagraph +no +needs cuda, which PyTorch does not find here$", said["cudagraph"].rstrip())
    assert re.search(r"^openvino +no .*pip install 'rtseg\[openvino\]'", said["openvino"])


def main_exits(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert not end.value.code
