"""Call a function as a node calls it, in this process; hand its result over as a node does.

What a function raises comes out as it is, with its traceback: a test reads that.
"""

from __future__ import annotations

import asyncio
import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from geopod import codecs
from geopod.api.plan import Plan, plan_sha256
from geopod.api.results import SMALL_RESULT_BYTES, Entry
from geopod.capture.bytecode import pickle_by_value
from geopod.errors import MissingExtraError, ResultNotSerializableError, ResultTooLargeError
from geopod.runner.context import Cancellation, Context, Place, enter
from geopod.runner.handover import Refused, Writer
from geopod.runner.loading import declares_context
from geopod.runner.params import Staged
from geopod.runner.returned import hand_over
from geopod.testing.layers import write_layer


def call(
    function: Callable[..., Any],
    *args: Any,
    index: int = 0,
    total: int = 1,
    large_result: bool = False,
    **kwargs: Any,
) -> Any:
    """Run one task of `map` here: return what its caller would get, raise what it raises.

    `ctx` is given to a function that declares it. Raises ResultTooLargeError for more than 2 MiB
    unless `large_result`, ResultNotSerializableError for what is no result.
    """
    with tempfile.TemporaryDirectory(prefix="geopod-") as folder:
        task = _Task(index, total, Path(folder), large_result=large_result)
        return task.run(function, args, kwargs, Staged(None, {}))


def execute(
    function: Callable[..., Any],
    layers: Mapping[str, Any] | None = None,
    *,
    nodes: int = 1,
    files: Mapping[str, bytes] | None = None,
    large_result: bool = False,
    on_empty: Literal["skip", "call"] = "skip",
    **partitioning: Any,
) -> list[Any]:
    """Run a function on every partition, one after the other: one element per node, node order.

    `layers`: key of `params` -> a `raster`, a GeoDataFrame, or the path of a file; `files`: id ->
    bytes; `partitioning`: `overlap=2`, `features="clip"`, … as in `Client.environment`. None
    stands for an empty partition. Raises what planning the layers raises (E121 to E129).
    """
    with tempfile.TemporaryDirectory(prefix="geopod-") as folder:
        room = Path(folder)
        plain = _written(files or {}, room)
        tasks = (_Task(index, nodes, room, large_result=large_result) for index in range(nodes))
        return [
            None
            if is_empty and on_empty == "skip"
            else task.run(function, [staged.params()], {}, staged)
            for task, (staged, is_empty) in zip(
                tasks, _staged(layers or {}, nodes, plain, room, partitioning), strict=True
            )
        ]


@dataclass(frozen=True, slots=True)
class _Task:
    index: int
    total: int
    room: Path
    large_result: bool

    def run(
        self,
        function: Callable[..., Any],
        args: Any,
        kwargs: Mapping[str, Any],
        staged: Staged,
    ) -> Any:
        """Call the function with its context, and return what its caller would get."""
        scratch = Path(tempfile.mkdtemp(dir=self.room))
        place = Place(run="testing", total=self.total, scratch=str(scratch), core=staged.core)
        context = Context(
            index=self.index,
            attempt=1,
            place=place,
            cancellation=Cancellation(),
            report=lambda *_: None,
        )
        more = {"ctx": context} if declares_context(function) else {}
        enter(context)
        try:
            value = function(*args, **{**kwargs, **more})
            if inspect.iscoroutine(value):
                value = asyncio.run(value)
        finally:
            enter(None)
        return self._returned(value, scratch, staged)

    def _returned(self, value: Any, scratch: Path, staged: Staged) -> Any:
        """Take a value the way of a result: child, agent, store, client."""
        writer = Writer(str(scratch), f"{self.index}-1")
        try:
            handed = hand_over(
                value, writer, rasters=staged.rasters, write_to=None, pickle=pickle_by_value
            )
        except Refused as refused:
            kind = str(refused.details.get("type", type(value).__name__))
            raise ResultNotSerializableError.returned(
                type_name=kind, task=self.index, total=self.total
            ) from refused
        source = handed.inline if handed.file is None else scratch / handed.file
        encoded = codecs.encode(handed.kind, source or b"", handed.meta, workdir=scratch)
        if encoded.size > SMALL_RESULT_BYTES and not self.large_result:
            raise ResultTooLargeError.returned(
                size=encoded.size,
                codec=encoded.codec,
                limit=SMALL_RESULT_BYTES,
                task=self.index,
                total=self.total,
            )
        data = encoded.data if isinstance(encoded.data, bytes) else encoded.data.read_bytes()
        entry = Entry(
            codec=encoded.codec,
            sha256=sha256(data).hexdigest(),
            bytes=len(data),
            meta=encoded.meta,
        )
        return codecs.decode(entry, data, large_result=self.large_result)


def _staged(
    layers: Mapping[str, Any],
    nodes: int,
    files: Mapping[str, str],
    room: Path,
    partitioning: Mapping[str, Any],
) -> Iterator[tuple[Staged, bool]]:
    """Yield every node's partition, and whether it is empty."""
    if not layers:
        for _ in range(nodes):
            yield Staged(None, files), False
        return
    try:
        from geopod.layers.stage import stage_partition, staged_folder  # loads GDAL
    except ImportError as error:
        raise MissingExtraError.needed(
            extra="geo", purpose="Staging layers", module=error.name or "rasterio"
        ) from error
    plan, sha = _plan(layers, nodes, room, partitioning)
    for part in plan.partitions:
        stage_partition(plan, sha, part.index, room)
        yield Staged(str(staged_folder(room, sha, part.index)), files), part.core is None


def _plan(
    layers: Mapping[str, Any], nodes: int, room: Path, partitioning: Mapping[str, Any]
) -> tuple[Plan, str]:
    """Return the plan of layers, and its sha256."""
    from geopod.coordinator.planning import PlanRequest, plan_layers  # loads GDAL
    from geopod.layers.sources import LayerSource

    sources = tuple(
        LayerSource(key=key, path_id=key, timestamp=key, hrefs=(str(write_layer(it, room, key)),))
        for key, it in layers.items()
    )
    plan, data = plan_layers(PlanRequest(layers=sources, nodes=nodes, options=dict(partitioning)))
    return plan, plan_sha256(data)


def _written(files: Mapping[str, bytes], room: Path) -> dict[str, str]:
    """Write plain files; return id -> path."""
    paths = {}
    for number, (key, data) in enumerate(files.items()):
        path = room / f"file-{number}"
        path.write_bytes(data)
        paths[key] = str(path)
    return paths
