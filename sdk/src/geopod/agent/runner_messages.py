"""What comes from the runner, decoded strictly: it runs users' code and is not trusted.

Whatever does not fit these types exactly is a violation of whoever sent it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from geopod.agent.work import ValueKind
from geopod.api.results import RemoteException

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Of tasks or bytes: it goes on in messages, which carry no larger number than 64 bits."""


class RunnerMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="t"):
    """Base of every message; the tag is in capitals on the wire."""


class Ready(RunnerMessage, frozen=True, tag="READY"):
    """Template: warm and waiting."""

    pid: int
    python: str
    """Minor version, `3.12`."""
    version: str
    implementation: str
    cloudpickle: str


class ChildMade(RunnerMessage, frozen=True, tag="CHILD"):
    """Template: a standby child; its control socket, stdout and stderr come as descriptors."""

    id: int
    pid: int


class Exited(RunnerMessage, frozen=True, tag="EXITED"):
    """Template: a child is gone, and what it was doing."""

    id: int
    exit: int | None
    signal: int | None
    reason: Literal["timeout", "memory", "processes", "output", "killed"] | None
    index: Count | None
    """The task that was running."""
    loading: bool
    """It was loading the function."""
    ran: float
    """Seconds the task (or the loading) had run."""
    offsets: tuple[Count, Count]
    """Where its output begins in stdout and stderr."""
    peak: Count
    cpu: float
    """Seconds of processor time of the child's whole life."""


class ResultItem(msgspec.Struct, frozen=True, kw_only=True):
    """Child: how one task ended; a value without `reason`, else a failure."""

    index: Count
    attempt: Count
    kind: ValueKind | None = None
    inline: tuple[Count, Count] | None = None
    file: str | None = None
    meta: dict[str, Any] = {}
    reason: (
        Literal[
            "Exception", "Exit", "NotSerializable", "ShapeMismatch", "NotAFileResult", "Cancelled"
        ]
        | None
    ) = None
    details: dict[str, Any] = {}
    exception: RemoteException | None = None
    runtime: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    touched: list[str] = []
    log: tuple[Count, Count, Count, Count] | None = None


class Results(RunnerMessage, frozen=True, tag="RESULTS"):
    """Child: finished tasks; inline values lie in the body."""

    items: list[ResultItem]
    peak: Count


class Writing(RunnerMessage, frozen=True, tag="WRITING"):
    """Child: a task's value is being written; its digest may begin."""

    index: Count
    attempt: Count
    file: str


class ProgressSaid(RunnerMessage, frozen=True, tag="PROGRESS"):
    """Child: what the running task says of itself."""

    index: Count
    fraction: float | None
    text: str


class NotLoadable(RunnerMessage, frozen=True, tag="NOT_LOADABLE"):
    """Child: the function could not be loaded."""

    exception: RemoteException


FromTemplate = Ready | ChildMade | Exited
FromChild = Results | Writing | ProgressSaid | NotLoadable

decode_from_template: Callable[[bytes], FromTemplate] = msgspec.json.Decoder(FromTemplate).decode
decode_from_child: Callable[[bytes], FromChild] = msgspec.json.Decoder(FromChild).decode
encode_header = msgspec.json.Encoder().encode
"""Header of a message to the runner."""
NOT_DECODABLE = (msgspec.MsgspecError, RecursionError, ValueError)
"""What decoding a forged header raises."""
