"""What a resource's schema refuses, as the error of the caller's own input."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from geopod.cluster.problems import ApiError, InvalidApiError
from geopod.errors import InvalidInputError, ProtocolMismatchError

NO_NAMESPACE = re.compile(r'namespaces "([^"]+)" not found')
UNDECLARED = "failed to create typed patch object"
"""Server-side apply answers 500 with these words where a field is not in the schema."""


@contextmanager
def callers_error(what: str) -> Iterator[None]:
    """Raise InvalidInputError for what the API server finds wrong with `what`.

    A field that it does not know is ProtocolMismatchError: this client's own models know it.
    """
    try:
        yield
    except ApiError as error:
        if UNDECLARED in error.message:
            raise ProtocolMismatchError.undeclared(
                client=version("geopod"), what=what, words=error.message
            ) from error
        if found := NO_NAMESPACE.match(error.message):
            raise InvalidInputError.value(
                name="namespace",
                value=found[1],
                why="is not there",
                fix=f"kubectl create namespace {found[1]}",
            ) from error
        if isinstance(error, InvalidApiError):
            raise InvalidInputError(
                f"The API server refuses {what}: {error.message}",
                details={"reason": error.reason},
            ) from error
        raise
