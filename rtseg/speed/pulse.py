"""How fast the processor itself is, looked at between the turns of a measurement.

A virtual machine shares its cores with other guests of the host. They can halve its speed for seconds, and no counter
of the system shows it: neither the load nor the time that was stolen. Heat does the same. So a fixed piece of work is
timed again and again.
"""

import time
from typing import Any

import numpy as np

from rtseg.deploy.class_map.cpu import compiled

_ROUNDS = 200_000
_REST_SECONDS = 0.01  # threads of the engine before may still be awake
_SLOW = 1.3
_LEAST = 10  # looks, to say anything


@compiled
def _work(values, rounds):  # type: ignore[no-untyped-def] # pragma: no cover
    """Multiply-adds of numbers in the first cache: as many as the processor can do at once, and no memory."""
    for _ in range(rounds):
        for i in range(values.size):
            values[i] = values[i] * np.float32(0.999) + np.float32(0.001)


class Pulse:
    """Times of the same work on one thread of the CPU."""

    def __init__(self) -> None:
        self._values = np.ones(256, np.float32)
        self._times: list[float] = []
        _work(self._values, 1)  # compiles it

    def beat(self) -> None:
        """Looks once, for some milliseconds."""
        time.sleep(_REST_SECONDS)
        begin = time.perf_counter()
        _work(self._values, _ROUNDS)
        self._times.append(time.perf_counter() - begin)

    def report(self) -> dict[str, Any] | None:
        """How often the processor was at least 1.3 times slower than in its best tenth, and how much at most (the 95th
        percentile). Plain JSON; None after few looks.
        """
        if len(self._times) < _LEAST:
            return None
        best, worst = np.percentile(self._times, [10, 95])
        slow = float(np.mean(np.array(self._times) > _SLOW * best))
        return {"looks": len(self._times), "slow_share": round(slow, 3), "slowest": round(float(worst / best), 2)}
