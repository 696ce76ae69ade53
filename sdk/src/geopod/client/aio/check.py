"""`check(f)`: one real partition first, and what the whole would cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from geopod.api.results import SMALL_RESULT_BYTES

if TYPE_CHECKING:
    from geopod.client.aio.environment import Environment


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CheckReport:
    """What a function did on the partitions that were tried."""

    function: str
    format: str
    function_bytes: int
    partitions: tuple[int, ...]
    nodes: int
    codecs: tuple[str, ...]
    result_bytes: tuple[int, ...]
    limit_bytes: int | None
    runtime_s: tuple[float, ...]
    peak_bytes: tuple[int, ...]
    touched: tuple[str, ...]
    failure: str = ""

    @property
    def ok(self) -> bool:
        """Say whether the function ran and its results fit."""
        return not self.failure and not self.too_large

    @property
    def too_large(self) -> bool:
        """Say whether a result is over the limit of `large_result=False`."""
        return self.limit_bytes is not None and max(self.result_bytes, default=0) > self.limit_bytes

    @property
    def estimate_s(self) -> float:
        """Seconds that all nodes together would need: each runs one partition at a time."""
        return max(self.runtime_s, default=0.0)

    @override
    def __repr__(self) -> str:
        verdict = "ok" if self.ok else "failed"
        return (
            f"<CheckReport {self.function} {verdict}: {self.estimate_s:.2f} s per node, "
            f"result at most {_bytes(max(self.result_bytes, default=0))}>"
        )

    @override
    def __str__(self) -> str:
        sent = f"{self.function}: sent as {self.format}, {self.function_bytes:,} bytes"
        lines = [f"{sent}; tried on {len(self.partitions)} of {self.nodes} partitions"]
        if self.failure:
            return "\n".join([*lines, self.failure])
        limit = f" of {self.limit_bytes:,} allowed" if self.limit_bytes is not None else ""
        lines.append(f"layers used: {', '.join(self.touched) or 'none'}")
        lines.append(
            f"result: {', '.join(sorted(set(self.codecs)))}, at most "
            f"{_bytes(max(self.result_bytes, default=0))}{limit}"
        )
        peak_mib = max(self.peak_bytes, default=0) / 2**20
        lines.append(f"{self.estimate_s:.2f} s and {peak_mib:,.0f} MiB per node")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return a card for notebooks."""
        from geopod.client.aio.showing import check_card  # only in a notebook

        return check_card(self)


def _bytes(size: int) -> str:
    return "1 byte" if size == 1 else f"{size:,} bytes"


async def check_function(
    environment: Environment, function: Any, *, partitions: int
) -> CheckReport:
    """Run `function` on the first `partitions` partitions; nothing of the result is kept apart."""
    chosen = tuple(range(min(partitions, environment.nodes)))
    run = await environment.submit(function, partitions=chosen, tags=("check",))
    await run.wait(progress=False)
    records = [await run.record(index) for index in run.indexes]
    entries = [record.entry for record in records if record is not None and record.entry]
    failures = [str(await run.exception(index)) for index in await run.failed_indexes()]
    large = bool(environment.record.spec.get("largeResult", False))
    return CheckReport(
        function=run.order.function.name,
        format=run.order.function.format,
        function_bytes=run.order.function.size,
        partitions=chosen,
        nodes=environment.nodes,
        codecs=tuple(entry.codec for entry in entries),
        result_bytes=tuple(entry.bytes for entry in entries),
        limit_bytes=None if large else SMALL_RESULT_BYTES,
        runtime_s=tuple(record.runtime_s for record in records if record is not None),
        peak_bytes=tuple(record.peak_bytes for record in records if record is not None),
        touched=tuple(
            dict.fromkeys(key for record in records if record is not None for key in record.touched)
        ),
        failure="\n".join(failures),
    )
