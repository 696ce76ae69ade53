"""Test your own functions without a cluster, and without a process of geopod's.

`execute` is what `env.execute` is: the layers are planned, split and staged by the code that nodes
use, and a result goes through the codecs, so that you get what a caller gets.

    >>> import numpy as np
    >>> from geopod.testing import call, execute, raster

    >>> def highest(params, ctx):
    ...     dem = params["dem"]
    ...     return {"node": ctx.index, "highest": float(dem["raster"].max())}

    >>> dem = raster(np.arange(128 * 64, dtype="float32").reshape(128, 64), pixel=10)
    >>> execute(highest, {"dem": dem}, nodes=2)
    [{'node': 0, 'highest': 4095.0}, {'node': 1, 'highest': 8191.0}]

    >>> def square(number):
    ...     return (number, number**2)

    >>> call(square, 3)
    [3, 9]

Code that uses a client is tested against `ScriptedBackend`, which plays results and failures.
"""

from __future__ import annotations

from geopod.testing.backend import ScriptedBackend
from geopod.testing.calling import call, execute
from geopod.testing.layers import RasterDouble, raster
from geopod.testing.store import MemoryStore

__all__ = ["MemoryStore", "RasterDouble", "ScriptedBackend", "call", "execute", "raster"]
