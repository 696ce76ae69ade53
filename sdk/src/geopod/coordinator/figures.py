"""Sums over a run's records: bytes of its results, how long its tasks took."""

from __future__ import annotations

from collections.abc import Sequence

from geopod.api.results import TaskRecord

SAMPLES = 1024
"""Durations kept of one run; when they are full every other one goes, and so on."""


class RunFigures:
    """What a status says of a run beside counts; bounded for any number of tasks."""

    def __init__(self) -> None:
        self.result_bytes = 0
        self._durations: list[float] = []
        self._step = 1
        self._seen = 0

    def take(self, records: Sequence[TaskRecord]) -> None:
        """Count final records."""
        for record in records:
            if record.entry is None:
                continue
            self.result_bytes += record.entry.bytes
            if self._seen % self._step == 0:
                self._durations.append(record.runtime_s)
            self._seen += 1
        while len(self._durations) > SAMPLES:
            self._durations = self._durations[::2]
            self._step *= 2

    def quantile(self, share: float) -> float | None:
        """Return the seconds that this share of the tasks took at most; None: none has ended."""
        if not self._durations:
            return None
        ordered = sorted(self._durations)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
