"""`rtseg serve`: what it refuses before anybody connects, and how it ends."""

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rtseg.cli import main
from rtseg.models.segmenter import Segmenter
from rtseg.serve.server import address
from tests.helpers.server import Client
from tests.serve.test_api import image


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    return capsys.readouterr().err


def test_ports_and_addresses_that_cannot_be_had(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(f"serve {tmp_path} --port {port}", capsys)
        assert f"cannot listen on 127.0.0.1, port {port} (Address already in use): give another --port" in said
    assert "--host 'no.such.host.invalid' is no address" in refused(
        f"serve {tmp_path} --host no.such.host.invalid", capsys
    )
    assert "--port 70000 must be from 0 to 65535" in refused(f"serve {tmp_path} --port 70000", capsys)
    assert "--parallel 0" in refused(f"serve {tmp_path} --parallel 0", capsys)
    assert "--seconds nan" in refused(f"serve {tmp_path} --seconds nan", capsys)
    assert "warning: whoever reaches 0.0.0.0" in refused(f"serve {tmp_path} --host 0.0.0.0 --port 0", capsys)


def test_a_film_or_an_image_is_no_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, kind in {"film.mp4": "a film", "street.JPG": "an image"}.items():
        (tmp_path / name).touch()
        said = refused(f"serve {tmp_path / name} --port 0", capsys)
        assert f"is {kind} and no network" in said
        assert "then the images" not in said


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install 'rtseg[serve]'" in refused(f"serve {tmp_path}", capsys)


def test_the_address_is_one_for_browsers() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        assert address(sock) == f"http://127.0.0.1:{sock.getsockname()[1]}/"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(number: signal.Signals, segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.save_pretrained(tmp_path / "net")
    command = [sys.executable, "-m", "rtseg", "serve", "net", "--port", "0", "--engine", "eager", "--device", "cpu"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        client = Client(int(line.split(":")[-1].split("/")[0]))
        assert client.segment(image()).status == 200
        with client.connected():  # which says nothing
            process.send_signal(number)
            out, err = process.communicate(timeout=15)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert out == "Stopped after 1 request with an image.\n"
    assert err == ""
