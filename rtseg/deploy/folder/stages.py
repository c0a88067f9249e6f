"""How many images per second a pipeline writes, how long each stage takes for an image, and which is the slowest."""

from collections.abc import Mapping
from dataclasses import dataclass


class StageTimes:
    """Mean seconds of work of each stage for an image; without each thread's first, for which it builds an engine.

    Args:
        threads: name of a stage -> how many threads do it at once, which divides its time.
    """

    def __init__(self, threads: Mapping[str, int]) -> None:
        self._threads = dict(threads)
        self._seconds: dict[str, float] = {}
        self._images = dict.fromkeys(threads, 0)

    def add(self, seconds: Mapping[str, float]) -> None:
        """The seconds of one image; a stage that failed or was not reached is missing. A new stage has one thread."""
        for stage, value in seconds.items():
            self._threads.setdefault(stage, 1)
            self._images.setdefault(stage, 0)
            before = self._seconds[stage] if self._images[stage] > self._threads[stage] else 0.0
            self._seconds[stage] = before + value
            self._images[stage] += 1

    def milliseconds(self) -> dict[str, float]:
        """Stage -> milliseconds, divided by the stage's threads; without the stages that no image reached."""
        return {
            stage: 1000 * seconds / max(1, self._images[stage] - self._threads[stage]) / self._threads[stage]
            for stage, seconds in self._seconds.items()
        }

    def slowest(self) -> str:
        """ "network, 28 ms"; empty before the first image."""
        times = self.milliseconds()
        if not times:
            return ""
        stage = max(times, key=times.__getitem__)
        return f"{stage}, {digits(times[stage])} ms"


@dataclass
class Speed:
    """How fast images are written. The first takes long: an engine is measured or prepared, kernels are compiled.

    Args:
        times: how long each stage took.

    Attributes:
        written: images, without those that failed.
        first: seconds until the first was written.
        seconds: until the last was written, or failed.
        ahead: images that the network had begun when the first was written, and this one.
    """

    times: StageTimes
    written: int = 0
    first: float = 0.0
    seconds: float = 0.0
    ahead: int = 0

    def add(self, seconds: float, begun: int, *, written: bool) -> None:
        """An image is written, or has failed.

        Args:
            seconds: since the beginning.
            begun: how many images the network has begun.
            written: whether it is.
        """
        self.seconds = seconds
        self.written += written
        if written and self.written == 1:
            self.first, self.ahead = seconds, max(1, begun)

    @property
    def _goes_on(self) -> bool:
        """Whether images were written that the network began after the first was written."""
        return self.written > self.ahead > 0

    def text(self) -> str:
        """ "30.2 images/s; slowest stage: network, 32.6 ms"; of one image the stage alone, of none nothing."""
        if not self.written:
            return ""
        many, took = self.written, self.seconds
        if self._goes_on:
            many, took = many - self.ahead, took - self.first
        rate = f"{digits(many / max(took, 1e-9))} images/s; " if self.written > 1 else ""
        return f"{rate}slowest stage: {self.times.slowest()}"

    def sentence(self) -> str:
        """ "14.2 s, 10.9 s until the first, then 30.2 images/s; slowest stage: network, 32.6 ms"."""
        first = (
            f", {self.first:.1f} s until the first, then" if self._goes_on and self.first > self.seconds / 10 else ","
        )
        return f"{self.seconds:.1f} s{first} {self.text()}"


def digits(value: float) -> str:
    """A number with three digits, or all of those before the point: 0.0123, 28.4, 1234."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
