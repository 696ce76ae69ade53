"""Errors of starting an environment: no machine, no image, no quota, not in time."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

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
    """The interpreter's image does not arrive."""

    code = "E402"

    @classmethod
    def not_pulled(
        cls,
        *,
        image: str,
        why: Literal["unauthorized", "not found", "rate limited"],
        words: str,
        secret: str | None,
        runtime: str,
    ) -> Self:
        """`words`: the registry's own; `secret`: the pull secret in use."""
        held = f"pull secret {secret!r}" if secret else "no pull secret"
        return cls(
            f"Image {image!r} cannot be pulled ({why}): {words}; {held}.",
            fixes=(f"administrator: image or secret of ComputeRuntime {runtime!r}",),
            details={"image": image, "why": why},
        )


class QuotaExceededError(SchedulingError):
    """The namespace's quota, or a limit of the runtime, does not allow it."""

    code = "E403"

    @classmethod
    def over_quota(  # one value per number of the sentence
        cls,
        *,
        quota: str,
        namespace: str,
        resource: str,
        requested: str,
        used: str,
        hard: str,
        fixes: tuple[str, ...],
    ) -> Self:
        """`fixes`: what fits, `nodes=4`, and what could end, `end ndvi-env (16 cpu, idle 2 h)`."""
        return cls(
            f"Quota {quota!r} in {namespace!r}: requested {resource} {requested}, "
            f"used {used} of {hard}.",
            fixes=fixes,
        )

    @classmethod
    def over_limit(cls, *, runtime: str, what: str, asked: str, limit: str) -> Self:
        """ComputeRuntime `runtime` limits `what` (reason LimitExceeded)."""
        return cls(
            f"ComputeRuntime {runtime!r} allows {what}={limit}, the environment asks {asked}.",
            fixes=(f"{what}={limit}",),
            details={"what": what, "limit": limit},
        )


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
