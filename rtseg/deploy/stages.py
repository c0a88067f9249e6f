"""How long each stage of a pipeline takes for an image, and which is the slowest."""

from collections.abc import Mapping


class StageTimes:
    """Mean seconds of work of each stage for an image; without the first, for which an engine prepares itself.

    Args:
        threads: name of a stage -> how many threads do it at once, which divides its time.
    """

    def __init__(self, threads: Mapping[str, int]) -> None:
        self._threads = dict(threads)
        self._seconds: dict[str, float] = {}
        self._images = dict.fromkeys(threads, 0)

    def add(self, seconds: Mapping[str, float]) -> None:
        """The seconds of one image; a stage that failed or was not reached is missing."""
        for stage, value in seconds.items():
            before = self._seconds[stage] if self._images[stage] > 1 else 0.0
            self._seconds[stage] = before + value
            self._images[stage] += 1

    def milliseconds(self) -> dict[str, float]:
        """Stage -> milliseconds, divided by the stage's threads; without the stages that no image reached."""
        return {
            stage: 1000 * seconds / max(1, self._images[stage] - 1) / self._threads[stage]
            for stage, seconds in self._seconds.items()
        }

    def slowest(self) -> str:
        """ "network, 28 ms"; empty before the first image."""
        times = self.milliseconds()
        if not times:
            return ""
        stage = max(times, key=times.__getitem__)
        return f"{stage}, {digits(times[stage])} ms"


def digits(value: float) -> str:
    """A number with three digits, or all of those before the point: 0.0123, 28.4, 1234."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
