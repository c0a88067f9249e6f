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
