"""Errors before anything is asked: configuration, sign-in, and parts that cannot be reached."""

from __future__ import annotations

from typing import ClassVar, Self

from geopod.errors.base import Actor, GeopodError
from geopod.errors.wording import about_text


class ConfigError(GeopodError):
    """The call cannot be made: no target, or settings that contradict each other."""

    code = "E001"

    @classmethod
    def no_cluster(cls, target: str | None = None) -> Self:
        """No target was found; `target` is the context that was asked for, if any."""
        missing = (
            "no GEOPOD_TARGET, not inside a cluster, no kubeconfig"
            if target is None
            else f"no context {target!r} in the kubeconfig"
        )
        return cls(
            f"No cluster found: {missing}.",
            fixes=('connect("local") runs on this machine', 'connect("my-context")'),
            details={"target": target},
        )

    @classmethod
    def unusable_folder(cls, *, folder: str, words: str) -> Self:
        """This machine's state folder cannot be made or written; `words`: the system's."""
        return cls(
            f"geopod's folder {folder} cannot be used: {words}.",
            fixes=("GEOPOD_HOME=… names another folder",),
            details={"folder": folder},
        )

    @classmethod
    def closed(cls, *, target: str) -> Self:
        """The client of `target` was used after its `close()`."""
        return cls(
            f"The client of {target!r} is closed; environments and runs go on.",
            fixes=(f"connect({target!r})",),
            details={"target": target},
        )


class AuthError(GeopodError):
    """The cluster does not know who is asking."""

    code = "E002"

    @classmethod
    def token_refused(cls, *, expired_s: float | None = None) -> Self:
        """The API server answered 401; `expired_s`: how long ago the token ended."""
        why = "" if expired_s is None else f" (expired {about_text(expired_s)} ago)"
        return cls(f"The API server refused the token{why}.", fixes=("sign in again",))


class PermissionDeniedError(GeopodError):
    """The cluster knows who is asking and does not allow it."""

    code = "E003"
    actor: ClassVar[Actor] = "administrator"

    @classmethod
    def forbidden(cls, *, verb: str, resource: str, namespace: str, user: str) -> Self:
        """The API server answered 403: `user` may not `verb` a `resource` in `namespace`."""
        binding = (
            f"kubectl create rolebinding geopod-edit-{user} --clusterrole=geopod-edit "
            f"--user={user} --namespace={namespace}"
        )
        return cls(
            f"You may not {verb} {resource} in namespace {namespace!r} (user {user!r}).",
            fixes=(f"ask for ClusterRole geopod-edit: {binding}",),
        )


class MissingExtraError(GeopodError, ImportError):
    """A part of geopod was used whose optional dependencies are not installed."""

    code = "E004"

    @classmethod
    def needed(cls, *, extra: str, purpose: str, module: str) -> Self:
        """`purpose` needs `module`, which the extra `extra` installs."""
        return cls(
            f"{purpose} needs the extra {extra!r}: module {module!r} is not installed.",
            fixes=(f'pip install "geopod[{extra}]"',),
            details={"extra": extra, "module": module},
        )


class ClusterError(GeopodError):
    """A part of the cluster did not do its work."""


class ClusterUnreachableError(ClusterError):
    """The API server does not answer."""

    code = "E010"
    actor: ClassVar[Actor] = "repeat"

    @classmethod
    def no_answer(cls, *, cluster: str, timeout_s: float, tries: int, why: str = "") -> Self:
        """The API server of `cluster` was asked `tries` times; `why`: what else than time ended."""
        return cls(
            f"The cluster {cluster!r} did not answer: "
            f"{why or f'timed out after {timeout_s:g} s'}, {_tries(tries)}.",
            fixes=("geopod doctor",),
        )


class CRDsNotInstalledError(ClusterError):
    """The cluster does not serve geopod's resources."""

    code = "E011"
    actor: ClassVar[Actor] = "administrator"

    @classmethod
    def unknown_kind(cls, *, cluster: str, kind: str, api_version: str) -> Self:
        """`cluster` answered 404 to the whole kind."""
        return cls(
            f"The cluster {cluster!r} does not know {kind} ({api_version}).",
            fixes=("an administrator installs the chart: helm install geopod …",),
        )


class OperatorNotRunningError(ClusterError):
    """Nothing reacts to a resource that was created."""

    code = "E012"
    actor: ClassVar[Actor] = "administrator"

    @classmethod
    def not_picked_up(cls, *, environment: str, namespace: str, waited_s: float) -> Self:
        """`environment` has no status `waited_s` seconds after its creation."""
        return cls(
            f"{environment!r} was created {waited_s:g} s ago and nothing picked it up (no status);"
            f" the operator is not running or does not watch namespace {namespace!r}.",
            fixes=("kubectl -n geopod-system get deploy geopod-operator",),
        )


class GatewayUnavailableError(ClusterError):
    """The artifact store does not answer."""

    code = "E013"
    actor: ClassVar[Actor] = "repeat"

    @classmethod
    def no_answer(cls, *, route: str, timeout_s: float, tries: int, why: str = "") -> Self:
        """The gateway, reached through `route`, was asked `tries` times; `why` as above."""
        asked = f"{_tries(tries)} in {timeout_s:g} s" if why else _tries(tries)
        return cls(
            f"The gateway, reached through {route}, did not answer: "
            f"{why or f'timed out after {timeout_s:g} s'}, {asked}.",
            fixes=("geopod doctor",),
        )


class RateLimitedError(ClusterError):
    """A part of the cluster asks to be called less often."""

    code = "E014"
    actor: ClassVar[Actor] = "repeat"

    @classmethod
    def slow_down(cls, *, retry_after_s: float) -> Self:
        """The gateway answered 429."""
        return cls(
            f"The gateway asks to slow down (retry after {retry_after_s:g} s).",
            details={"retryAfter": retry_after_s},
        )


class ProtocolMismatchError(ClusterError):
    """Client and environment are of releases that do not understand each other."""

    code = "E015"

    @classmethod
    def differs(
        cls,
        *,
        client: str,
        speaks: int,
        environment: str,
        environment_speaks: int,
        fitting: str | None = None,
    ) -> Self:
        """`client`, `fitting`: releases, `0.4`; None: the one that fits is later than this client.

        An environment that is made again has the coordinator of the operator's release.
        """
        older = (f'pip install "geopod~={fitting}"', "recreate the environment")
        return cls(
            f"Client {client} speaks protocol {speaks}, "
            f"environment {environment!r} speaks {environment_speaks}.",
            fixes=older if fitting else ("pip install --upgrade geopod",),
            details={"client": speaks, "environment": environment_speaks},
        )

    @classmethod
    def undeclared(cls, *, client: str, what: str, words: str) -> Self:
        """`what` holds a field that the cluster's definitions lack; `words`: the API server's."""
        return cls(
            f"Client {client} sends what this cluster's definitions do not have, in {what}: "
            f"{words.rstrip('.')}.",
            fixes=("an administrator upgrades the chart: helm upgrade geopod …",),
        )


def _tries(count: int) -> str:
    return "1 try" if count == 1 else f"{count} tries"
