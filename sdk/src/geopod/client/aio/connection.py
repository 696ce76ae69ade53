"""A client's backend until the client is closed; afterwards every use says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geopod.errors import ConfigError

if TYPE_CHECKING:
    from geopod.backends import Backend


class Connection:
    """Passes everything on to the backend; after `close` it raises ConfigError instead."""

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self.namespace = backend.namespace
        self._backend: Backend | None = backend

    def __getattr__(self, name: str) -> Any:
        if self._backend is None:
            raise ConfigError.closed(target=self.name)
        return getattr(self._backend, name)

    async def close(self) -> None:
        """Hang up; twice: nothing."""
        backend, self._backend = self._backend, None
        if backend is not None:
            await backend.close()
