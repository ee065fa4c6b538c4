"""Memory that several lanes read at once: how long a task's reads take beside those of others."""

from __future__ import annotations

WINDOW_CYCLES = 512  # in which shares are counted: well below the cycles of a task
LEAST = 1e-6  # [cycles] of memory that count as nothing


class SharedMemory:
    """Counts out the memory's cycles, window by window; who asks first is served first.

    A task takes its reads at an even rate, that of its gather alone. Where a window is taken it
    gets what is left and goes on, at that rate, in the next one.

    Parameters
    ----------
    window_cycles : int
    """

    def __init__(self, window_cycles: int = WINDOW_CYCLES) -> None:
        if window_cycles < 1:
            raise ValueError(f"window_cycles must be at least 1, not {window_cycles}")
        self._window = window_cycles
        self._used: dict[int, float] = {}

    def reserve(self, start: float, cycles: float, work: float) -> float:
        """Return when reads of `work` memory cycles end that take `cycles` from `start` on alone.

        The end is never before start + cycles, however free the memory is.
        """
        if work <= LEAST or cycles <= 0:
            return start + max(cycles, 0)
        window, used = self._window, self._used
        rate = min(1.0, work / cycles)
        at, left = start, work
        index = int(at // window)
        while True:
            limit = (index + 1) * window
            taken = used.get(index, 0.0)
            share = min(left, rate * (limit - at), window - taken)
            if share > 0:
                used[index] = taken + share
                left -= share
                if left <= LEAST:
                    return max(start + cycles, at + share / rate)
            at = limit
            index += 1

    def forget(self, before: float) -> None:
        """Drop the windows that end before `before`: no task will start there."""
        first = int(before // self._window)
        for index in [index for index in self._used if index < first]:
            del self._used[index]
