"""Kinds of streams other than MJPEG: a film on a server, RTSP and UDP."""

import socket
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.ffmpeg import ffmpeg_program
from rtseg.deploy.video.live_options import LiveOptions
from rtseg.deploy.video.live_source import LiveSource
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from tests.helpers.films import ffmpeg, write_film
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


def test_a_film_on_a_server_is_whole(film: Path, shared_segmenter: Segmenter, tmp_path: Path) -> None:
    handler = partial(SimpleHTTPRequestHandler, directory=str(film.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/film.mp4"
        source = LiveSource(url, LiveOptions())
        assert (source.stated, source.rate, source.size) == (30, 10, (48, 64))
        assert numbers(source) == list(range(30))
        assert (source.slot.dropped, source.notes(), source.failure) == (0, [], None)
        for wrong in (LiveOptions(deadline=1), LiveOptions(reconnect=True)):
            with pytest.raises(UserError, match="is a film of 30 frames, which waits: leave --deadline"):
                predict_files(Predictor(shared_segmenter, device="cpu"), [url], tmp_path, live=wrong)
        server.shutdown()


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
