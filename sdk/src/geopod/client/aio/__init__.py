"""The client as coroutines: the only implementation, under the same names as the plain client."""

from geopod.client.aio.client import Client, connect
from geopod.client.aio.environment import Environment
from geopod.client.aio.run import Run, gather, wait
from geopod.client.aio.task import Task, as_completed

__all__ = ["Client", "Environment", "Run", "Task", "as_completed", "connect", "gather", "wait"]
