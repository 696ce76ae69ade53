"""The result of an execute that nobody has waited for yet."""

from __future__ import annotations

from typing import Any, Self

from typing_extensions import override

from geopod.client.loop import shared_loop
from geopod.client.sync import Run
from geopod.errors import RunFailedError
from geopod.faces.ellipsis.results import read_elements
from geopod.faces.ellipsis.value_errors import raises_value_errors


class PendingResult(list[Any]):
    """One element per node, once `wait()` has returned; empty until then."""

    def __init__(self, run: Run, *, compute_id: str) -> None:
        super().__init__()
        self.run = run
        """The run itself: `.logs()`, `.cancel()`, `.explain()`."""
        self._compute_id = compute_id

    @raises_value_errors
    def wait(self, timeout: float | str | None = None) -> Self:
        """Wait until all nodes have finished and fill the list; return it.

        After `timeout` raises WaitTimeoutError, and the run goes on. Raises RunFailedError, which
        holds the other nodes' results, when `f` failed.
        """
        self.run.wait(timeout)
        reading = read_elements(self.run._aio, compute_id=self._compute_id)  # noqa: SLF001  # its coroutines
        try:
            self[:] = shared_loop().run(reading)
        except RunFailedError as error:
            error.run = self.run
            raise
        return self

    @override
    def __repr__(self) -> str:
        return super().__repr__() if self else f"<PendingResult of {self.run!r}>"
