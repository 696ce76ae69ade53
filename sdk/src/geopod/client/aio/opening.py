"""A call whose value is awaited, or entered: `await connect(…)`, `async with connect(…) as c`."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar

from typing_extensions import override

Value = TypeVar("Value", bound="AbstractAsyncContextManager[Any]")


class Opening(Coroutine[Any, Any, Value]):
    """A coroutine that is a context manager too: of the value that it returns."""

    def __init__(self, work: Coroutine[Any, Any, Value]) -> None:
        self._work = work
        self._value: Value | None = None

    @override
    def __await__(self) -> Generator[Any, Any, Value]:
        return self._work.__await__()

    @override
    def send(self, value: Any, /) -> Any:
        """Go on with the work (asyncio calls this)."""
        return self._work.send(value)

    @override
    def throw(self, *error: Any) -> Any:
        """Raise an error inside the work (asyncio calls this)."""
        return self._work.throw(*error)

    @override
    def close(self) -> None:
        """Give the work up."""
        self._work.close()

    async def __aenter__(self) -> Value:
        self._value = await self._work
        entered: Value = await self._value.__aenter__()
        return entered

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if self._value is None:
            return None
        return await self._value.__aexit__(kind, error, trace)
