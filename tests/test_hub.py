"""What is fetched from a hub that answers, one that does not, and one that is asked for what it does not have."""

import logging
import socket
import time
from pathlib import Path

import pytest

from rtseg.errors import UserError
from rtseg.hub import fetch
from tests.helpers.hub import hub_of


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text(f"content of {name}")
    return folder


def test_files_come_from_the_hub_and_later_without_it(
    repository: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = str(tmp_path / "cache")
    with hub_of({"somebody/net-1.0": repository}) as (address, asked):
        found = fetch("somebody/net-1.0", "config.json", "model.safetensors", endpoint=address, cache_dir=cache)
    assert (found / "config.json").read_text() == "content of config.json"
    assert (found / "model.safetensors").is_file()
    assert "HEAD /somebody/net-1.0/resolve/main/config.json" in asked
    with caplog.at_level(logging.WARNING):
        assert fetch("somebody/net-1.0", "config.json", endpoint=address, cache_dir=cache) == found
        with pytest.raises(UserError, match=r"^the Hugging Face hub does not answer \(.*[Rr]efused"):
            fetch("somebody/else", "config.json", endpoint=address, cache_dir=cache)
    assert caplog.messages == [], "no attempt after the first"


def test_what_the_hub_does_not_have(repository: Path, tmp_path: Path) -> None:
    with hub_of({"somebody/net": repository}) as (address, asked):
        hub = {"endpoint": address, "cache_dir": str(tmp_path / "cache")}
        with pytest.raises(UserError, match="has no network of that name, or it is private"):
            fetch("somebody/typo", "config.json", **hub)
        assert asked == ["HEAD /somebody/typo/resolve/main/config.json"]
        with pytest.raises(UserError, match=r"without a weights\.bin: rtseg did not write it"):
            fetch("somebody/net", "weights.bin", **hub)


def test_a_hub_that_keeps_silent_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.2")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        with pytest.raises(UserError, match="does not answer"):
            fetch(
                "a/b", "config.json",
                endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}", cache_dir=str(tmp_path),
            )  # fmt: skip
    assert time.monotonic() - begin < 5


def test_a_new_commit_is_said_and_an_older_one_can_be_had(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commits = {"somebody/net": "a" * 40}
    with hub_of({"somebody/net": repository}, commits) as (address, asked):
        hub = {"endpoint": address, "cache_dir": str(tmp_path / "cache")}
        first = fetch("somebody/net", "config.json", **hub)
        assert fetch("somebody/net", "config.json", **hub) == first
        assert capsys.readouterr().err == ""
        commits["somebody/net"] = "b" * 40
        (repository / "config.json").write_text("another content")
        second = fetch("somebody/net", "config.json", **hub)
        assert (second / "config.json").read_text() == "another content"
        assert f"it was {'a' * 40}, it is {'b' * 40}. 'somebody/net@{'a' * 40}' is" in capsys.readouterr().err
        assert fetch("somebody/net", "config.json", **hub) == second
        assert fetch(f"somebody/net@{'a' * 40}", "config.json", **hub) == first
        assert f"HEAD /somebody/net/resolve/{'a' * 40}/config.json" in asked
        assert capsys.readouterr().err == ""


def test_files_that_are_too_large_are_not_taken(repository: Path, tmp_path: Path) -> None:
    sizes = {"model.safetensors": 2**40}
    with hub_of({"somebody/net": repository}, sizes=sizes) as (address, asked):
        hub = {"endpoint": address, "cache_dir": str(tmp_path / "cache")}
        with pytest.raises(UserError, match=f"with a model.safetensors of {2**40} bytes, and more than"):
            fetch("somebody/net", "config.json", "model.safetensors", **hub)
        sizes["config.json"] = 2**23
        with pytest.raises(UserError, match=f"with a config.json of {2**23} bytes"):
            fetch("somebody/net", "config.json", **hub)
    assert not any(line.startswith("GET") for line in asked)
