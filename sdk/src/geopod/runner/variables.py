"""Environment variables of one task: set while it runs, as they were before when it has ended."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def task_variables(variables: Mapping[str, str] | None = None) -> Iterator[None]:
    """Set a task's variables in this process, for libraries in C too; then put back the former."""
    if not variables:
        yield
        return
    former = {name: os.environ.get(name) for name in variables}
    try:
        os.environ.update(variables)  # it takes those before one that it does not take
        yield
    finally:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
