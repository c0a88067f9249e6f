"""The end of an overlay: its index goes to the front, and the sound of its film comes in, at the time it had."""

import re
import subprocess
from fractions import Fraction
from pathlib import Path

from rtseg.deploy.video.ffmpeg import QUIET

_PLAYED = {"aac", "flac", "mp3", "opus"}  # what browsers play from an MP4


def rewrapped(
    program: str, overlay: Path, target: Path, source: Path | None, seconds: float
) -> tuple[bool, str | None]:
    """Writes an MP4 again with its index first, as browsers want it, and with sound; its frames are copied.

    Args:
        program: ffmpeg.
        overlay: the MP4, its frames as late as those of `source` after the first.
        target: is made or replaced.
        source: the film that the sound comes from; None for none.
        seconds: of the overlay, after which the sound ends.

    Returns:
        Whether it is there, as the disk may be full; and a sentence on the sound where it is not as in the film.
    """
    codecs, starts = _streams(program, source, "a", "-c", "copy") if source else ([], [])
    if source and codecs and starts:
        # As `source` is read: there, the first frame that can be decoded may come after the first packet.
        _, shown = _streams(program, source, "v:0", "-enc_time_base", "1:120000")
        _, begun = _streams(program, overlay, "v:0", "-c", "copy")
        begin = max(0.0, min([*starts, *shown]))  # a film may begin late, as broadcasts do, and its overlay does not
        late = (shown or [0.0])[0] - begin
        words = ["-copyts", "-itsoffset", _stated(late - (begun or [0.0])[0]), "-i", _named(overlay)]
        words += ["-itsoffset", _stated(-begin), "-i", _named(source), "-map", "0:v", "-map", "1:a", "-c", "copy"]
        words += ["-t", _stated(late + seconds)]
        others = sorted(set(codecs) - _PLAYED)
        if not others and _made(program, words, target):
            return True, None
        if _made(program, [*words, "-c:a", "aac"], target):
            return True, f"its sound ({', '.join(others or codecs)}) is made AAC, which browsers play"
    lost = f"its sound ({', '.join(codecs)}) is left out: this ffmpeg cannot put it into an MP4" if codecs else None
    return _made(program, ["-i", _named(overlay), "-c", "copy"], target), lost


def _made(program: str, words: list[str], target: Path) -> bool:
    words = [program, *QUIET, *words, "-movflags", "+faststart", "-f", "mp4", _named(target)]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True).returncode == 0


def _streams(program: str, film: Path, kind: str, *options: str) -> tuple[list[str], list[float]]:
    """Codecs of the streams of a kind, and in seconds when the first begin; of none where there are none."""
    words = [program, *QUIET, "-copyts", "-i", _named(film), "-map", f"0:{kind}", *options, f"-frames:{kind}", "1"]
    said = subprocess.run(
        [*words, "-f", "framecrc", "-"], stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True
    ).stdout.decode(errors="replace")
    units = dict(re.findall(r"^#tb (\d+): (\d+/\d+)", said, re.MULTILINE))
    first = re.findall(r"^(\d+), *-?\d+, *(-?\d+),", said, re.MULTILINE)
    return re.findall(r"^#codec_id \d+: (\S+)", said, re.MULTILINE), [
        float(int(time) * Fraction(units[number])) for number, time in first if number in units
    ]


def _named(file: Path) -> str:
    return f"file:{file.absolute()}"


def _stated(seconds: float) -> str:
    return f"{seconds:.6f}"
