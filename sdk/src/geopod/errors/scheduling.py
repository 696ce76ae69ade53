"""Errors of starting an environment: no machine, no image, no quota, not in time."""

from __future__ import annotations

from typing import ClassVar, Self

from geopod.errors.base import Actor, GeopodError
from geopod.errors.wording import about_text


class SchedulingError(GeopodError):
    """The environment's nodes do not start."""

    actor: ClassVar[Actor] = "administrator"


class UnschedulableError(SchedulingError):
    """No machine takes the nodes."""

    code = "E401"

    @classmethod
    def no_machine(
        cls, *, waiting: int, total: int, after_s: float, missing: str, scheduler: str, fix: str
    ) -> Self:
        """`missing` is `nvidia.com/gpu (1 each)`; `scheduler`: its own words."""
        return cls(
            f"{waiting} of {total} nodes cannot be scheduled (after {after_s:g} s): "
            f"no machine offers {missing}. Scheduler: {scheduler}",
            fixes=(fix, "ask for a GPU pool", "geopod capacity")
            if "gpu" in missing.lower()
            else (fix, "geopod capacity"),
        )


class ImagePullError(SchedulingError):
    """The interpreter's image does not arrive: the operator's sentence, quoted."""

    code = "E402"


class QuotaExceededError(SchedulingError):
    """The namespace's quota, or a limit of the runtime, does not allow it: the sentence, quoted."""

    code = "E403"


class EnvironmentStartTimeout(SchedulingError, TimeoutError):  # noqa: N818  # name of the contract
    """The environment was not Ready in time, or never will be."""

    code = "E404"

    @classmethod
    def not_ready(
        cls, *, environment: str, ready: int, total: int, after_s: float, why: str
    ) -> Self:
        """`why`: the message of the worst condition, or what the nodes are doing."""
        return cls(
            f"{environment!r} has {ready} of {total} nodes ready after {about_text(after_s)}: "
            f"{why.rstrip('.')}.",
            fixes=("env.explain()", "start_timeout='30m'"),
            details={"ready": ready, "total": total, "seconds": after_s},
        )
