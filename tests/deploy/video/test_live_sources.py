"""Kinds of streams other than MJPEG: a film on a server, RTSP and UDP."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.ffmpeg import ffmpeg_program
from rtseg.deploy.video.live_options import LiveOptions
from rtseg.deploy.video.live_source import LiveSource
from rtseg.deploy.video.reader import FilmReader
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from tests.helpers.films import ffmpeg, frames, write_film
from tests.helpers.mjpeg import number_of, numbered

pytest.importorskip("imageio_ffmpeg")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = [numbered(number)[..., ::-1] for number in range(30)]
    options = ("-c:v", "libx264", "-crf", "1", "-pix_fmt", "yuv420p", "-movflags", "+faststart")
    return write_film(tmp_path_factory.mktemp("www") / "film.mp4", images, *options)


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(type=kind) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def numbers(source: LiveSource) -> list[int]:
    found = [number_of(frame.image) for frame in source.frames()]
    source.close()
    return found


@pytest.fixture
def server(film: Path) -> Iterator[str]:
    """The address of a server of the film's folder, which sends no parts of files."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(film.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_film_on_a_server_is_whole(server: str, shared_segmenter: Segmenter, tmp_path: Path) -> None:
    url = f"{server}/film.mp4"
    source = LiveSource(url, LiveOptions())
    assert (source.stated, source.rate, source.size) == (30, 10, (48, 64))
    assert numbers(source) == list(range(30))
    assert (source.slot.dropped, source.notes(), source.failure) == (0, [], None)
    for wrong in (LiveOptions(deadline=1), LiveOptions(reconnect=True)):
        with pytest.raises(UserError, match="is a film of 30 frames, which waits: leave --deadline"):
            predict_files(Predictor(shared_segmenter, device="cpu"), [url], tmp_path, live=wrong)


def test_a_film_on_a_server_keeps_its_times(
    server: str, film: Path, shared_segmenter: Segmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uneven = ("-vf", "settb=1/1000,setpts=N*(N+1)*40", "-fps_mode", "vfr", "-enc_time_base", "1:1000")
    write_film(film.parent / "uneven.mp4", frames(6), *uneven, "-c:v", "libx264", "-movflags", "+faststart")
    predict_files(Predictor(shared_segmenter, device="cpu"), [f"{server}/uneven.mp4"], tmp_path)
    reader = FilmReader(tmp_path / "live_overlay.mp4", 2**26)
    assert [turn.at for turn in reader.turns()] == pytest.approx([0, 0.08, 0.24, 0.48, 0.8, 1.2], abs=0.001)
    assert "capture to overlay" not in capsys.readouterr().out
    assert "latency_ms" not in (tmp_path / "predictions.jsonl").read_text()


def test_a_film_whose_index_comes_last(server: str, film: Path) -> None:
    write_film(film.parent / "last.mp4", frames(30, (240, 320)), "-c:v", "libx264", "-qp", "0")
    with pytest.raises(UserError, match=r"gives no frame: some servers need films with the index first: `ffmpeg"):
        LiveSource(f"{server}/last.mp4", LiveOptions())


def test_rtsp(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's FFmpeg listens, and another one sends: no server of RTSP is needed."""
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_flags;listen|listen_timeout;20")
    url = f"rtsp://127.0.0.1:{free_port(socket.SOCK_STREAM)}/live"
    send = [str(ffmpeg_program()), "-loglevel", "quiet", "-re", "-i", str(film), "-c:v", "mpeg4", "-q:v", "2"]
    started: list[subprocess.Popen] = []
    timer = threading.Timer(
        1, lambda: started.append(subprocess.Popen([*send, "-f", "rtsp", "-rtsp_transport", "tcp", url]))
    )
    timer.start()
    source = LiveSource(url, LiveOptions(patience=20))
    found = numbers(source)
    timer.join()
    started[0].wait()
    assert found == sorted(set(found))
    assert found[-1] == 29
    assert len(found) + source.slot.dropped == source.slot.put_frames == 30
    assert source.stated == 0
    assert "the stream has ended" in source.notes()[-1]


def test_udp_and_its_silence(film: Path) -> None:
    url = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    with pytest.raises(UserError, match="nothing that can be read came within 1 s"):
        LiveSource(url, LiveOptions(patience=1))
    send = [str(ffmpeg_program()), "-loglevel", "quiet", "-re", "-stream_loop", "-1", "-i", str(film)]
    sender = subprocess.Popen([*send, "-c:v", "mpeg2video", "-q:v", "2", "-r", "25", "-f", "mpegts", url])
    try:
        source = LiveSource(url, LiveOptions(patience=3))
        frames = source.frames()
        for _ in range(10):
            next(frames)
        assert source.size == (48, 64)
    finally:
        sender.kill()
        sender.wait()
    assert len(list(frames)) < 1000
    assert "no frame came for 3 s" in str(source.failure)
    source.close()


def test_tcp(film: Path, tmp_path: Path) -> None:
    ffmpeg("-i", film, "-c:v", "mpeg2video", "-q:v", "2", "-r", "25", tmp_path / "film.ts")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            with server.accept()[0] as connection:
                connection.sendall((tmp_path / "film.ts").read_bytes())

        threading.Thread(target=send, daemon=True).start()
        source = LiveSource(f"tcp://127.0.0.1:{server.getsockname()[1]}", LiveOptions(patience=5))
        found = numbers(source)
    assert found == sorted(found)
    assert found[-1] == 29
    assert len(found) + source.slot.dropped == source.slot.put_frames
