"""The plain client: the coroutines of `aio`, run on a private loop thread.

Signatures and docstrings are those of `aio`; nothing is decided here but what Ctrl-C does.
"""

from geopod.client.sync.client import Client, connect
from geopod.client.sync.environment import Environment
from geopod.client.sync.run import Run, as_completed, gather, wait
from geopod.client.sync.task import Task

__all__ = ["Client", "Environment", "Run", "Task", "as_completed", "connect", "gather", "wait"]
