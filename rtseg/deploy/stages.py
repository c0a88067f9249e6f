"""How long each stage of a pipeline takes for an image, and which is the slowest."""

from collections.abc import Mapping


class StageTimes:
    """Seconds of work of each stage, summed over images.

    Args:
        threads: name of a stage -> how many threads do it at once, which divides its time.
    """

    def __init__(self, threads: Mapping[str, int]) -> None:
        self._threads = dict(threads)
        self._seconds = dict.fromkeys(threads, 0.0)
        self._images = dict.fromkeys(threads, 0)

    def add(self, seconds: Mapping[str, float]) -> None:
        """The seconds of one image; a stage that failed or was not reached is missing."""
        for stage, value in seconds.items():
            self._seconds[stage] += value
            self._images[stage] += 1

    def milliseconds(self) -> dict[str, float]:
        """Stage -> mean time of an image, divided by the stage's threads; without the stages that no image reached."""
        return {
            stage: 1000 * self._seconds[stage] / images / self._threads[stage]
            for stage, images in self._images.items()
            if images
        }

    def slowest(self) -> str:
        """ "network, 28 ms"; empty before the first image."""
        times = self.milliseconds()
        if not times:
            return ""
        stage = max(times, key=times.__getitem__)
        return f"{stage}, {times[stage]:.3g} ms"
