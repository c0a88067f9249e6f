"""Whether the frames of a film change their size: OpenCV makes all as large as the first, and does not say so."""

import re
import subprocess
from pathlib import Path


def changing_size(program: str, film: Path) -> str | None:
    """A sentence that names the sizes of a film's key frames where there are several; else None.

    Where no key frame has the new size, as VP9 may have it, it is not seen: other frames are not decoded.

    Args:
        program: ffmpeg.
        film: a file.
    """
    words = [program, "-nostdin", "-hide_banner", "-flags", "low_delay", "-skip_frame", "nokey"]
    words += ["-i", f"file:{film.absolute()}", "-map", "0:v:0", "-vf", "showinfo", "-f", "null", "-"]
    sizes: dict[str, None] = {}
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:  # others have titles and comments of the film
                if found := re.match(rb"\[Parsed_showinfo\S* @ .* s:(\d+x\d+) ", line):
                    sizes[found[1].decode()] = None
        except BaseException:  # Ctrl-C, which shall not wait for the end of a long film
            process.kill()
            raise
    if len(sizes) < 2:
        return None
    first, *others = sizes
    return f"{film.name}: its frames change their size ({first}, then {', '.join(others)}); all are written as {first}"
