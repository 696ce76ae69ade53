"""Whether a spec can be: runtime, interpreter, Layers and limits. Nothing is started before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from geopod.api import reasons
from geopod.api.common import Resources, invalid_input
from geopod.api.environment import ComputeEnvironmentSpec
from geopod.api.layer import LayerSpec
from geopod.api.quantities import parse_thousandths
from geopod.api.reasons import EnvironmentCondition
from geopod.api.runtime import ComputeRuntimeSpec, OfferedInterpreter
from geopod.errors import GeopodError, LayerNotFoundError, RequirementsError
from pydantic import ValidationError

from geopod_operator.environment.desired.addresses import is_closed
from geopod_operator.environment.observed import Observed, Raw
from geopod_operator.environment.resolved import Gpu, Identity, Refusal, Resolved
from geopod_operator.environment.template import (
    CONFINEMENT,
    merge_templates,
    secrets_of_volume,
    unsafe_volumes,
)

OWN_SECRETS = ("-link", "-purge")
"""How Secrets of environments end; also another environment's are closed."""


class NotAcceptedError(Exception):
    """The spec cannot be; raised inside this module only."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(reason, message)


def identity_of(environment: Raw) -> Identity:
    """Return who an environment is."""
    metadata = environment["metadata"]
    return Identity(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        created=datetime.fromisoformat(metadata["creationTimestamp"]),
        annotations=metadata.get("annotations") or {},
    )


def resolve(observed: Observed) -> Resolved | Refusal:
    """Return the spec with nothing left to look up, or why `Accepted` is False."""
    try:
        return _resolve(observed)
    except NotAcceptedError as error:
        return error.refusal


def _resolve(observed: Observed) -> Resolved:
    identity = identity_of(observed.environment)
    spec = _spec(observed.environment)
    runtime = _runtime(observed, spec.runtime)
    interpreter = _interpreter(spec, runtime)
    gpu = _gpu(spec, runtime)
    template = merge_templates(runtime.pod_template, spec.template)
    pull = [it["name"] for it in template.pop("imagePullSecrets", [])]
    resolved = Resolved(
        identity=identity,
        spec=spec,
        runtime=runtime,
        interpreter=interpreter,
        image=(interpreter.gpu_image if gpu else None) or interpreter.image,
        resources=_resources(spec, runtime),
        gpu=gpu,
        layers=_layers(observed, spec, identity.namespace),
        template=template,
        pull_secrets=tuple(
            sorted(
                {
                    *pull,
                    *(it.name for it in runtime.image_pull_secrets),
                    *observed.settings.image_pull_secrets,
                }
            )
        ),
    )
    for what, limit, asked in (*_excesses(resolved), *_secret_excesses(resolved, observed)):
        raise _not_accepted(
            "LimitExceeded", runtime=spec.runtime, what=what, limit=limit, asked=asked
        )
    return resolved


def _not_accepted(reason: str, **values: object) -> NotAcceptedError:
    message = reasons.sentence(EnvironmentCondition.ACCEPTED, reason, **values)
    return NotAcceptedError(reason, message)


def _quoted(reason: str, error: GeopodError) -> NotAcceptedError:
    hint = f" fix: {error.hint}" if error.fixes else ""
    return NotAcceptedError(reason, f"{error.fact}{hint}")


def _spec(environment: Raw) -> ComputeEnvironmentSpec:
    try:
        return ComputeEnvironmentSpec.model_validate(environment["spec"])
    except RequirementsError as error:
        raise _quoted("InvalidRequirement", error) from error
    except ValidationError as error:
        found = invalid_input(error)
        is_requirement = isinstance(found, RequirementsError)
        raise _quoted("InvalidRequirement" if is_requirement else "LimitExceeded", found) from error


def _runtime(observed: Observed, name: str) -> ComputeRuntimeSpec:
    if observed.runtime is None:
        there = ", ".join(sorted(observed.runtimes)) or "none"
        raise _not_accepted("RuntimeNotFound", runtime=name, names=there)
    try:
        return ComputeRuntimeSpec.model_validate(observed.runtime["spec"])
    except ValidationError as error:
        fact = invalid_input(error).fact
        message = f"ComputeRuntime {name} cannot be used: {fact}"
        raise NotAcceptedError("RuntimeNotFound", message) from error


def _interpreter(spec: ComputeEnvironmentSpec, runtime: ComputeRuntimeSpec) -> OfferedInterpreter:
    for offered in runtime.interpreters:
        if offered.name == spec.interpreter:
            return offered
    raise _not_accepted(
        "UnknownInterpreter",
        runtime=spec.runtime,
        interpreter=spec.interpreter,
        names=", ".join(it.name for it in runtime.interpreters),
    )


def _gpu(spec: ComputeEnvironmentSpec, runtime: ComputeRuntimeSpec) -> Gpu | None:
    if not spec.enable_gpu:
        return None
    wanted = spec.gpu.resource_name if spec.gpu else None
    count = spec.gpu.count if spec.gpu else 1
    for profile in runtime.gpu_profiles:
        if wanted in {None, profile.resource_name}:
            return Gpu(resource_name=profile.resource_name, count=count, profile=profile)
    if wanted is None:
        raise _not_accepted(
            "LimitExceeded", runtime=spec.runtime, what="gpuProfiles", limit="none", asked="a GPU"
        )
    domain, slash, _ = wanted.partition("/")
    if not slash or domain == "kubernetes.io" or domain.endswith(".kubernetes.io"):
        raise _not_accepted(
            "LimitExceeded",
            runtime=spec.runtime,
            what="gpu.resourceName",
            limit="a device like nvidia.com/gpu",
            asked=wanted,
        )
    return Gpu(resource_name=wanted, count=count, profile=None)


def _resources(spec: ComputeEnvironmentSpec, runtime: ComputeRuntimeSpec) -> Resources:
    wanted, default = spec.resources or Resources(), runtime.resources
    return Resources(
        cpu=wanted.cpu or default.cpu or "1",
        memory=wanted.memory or default.memory or "4Gi",
        ephemeral_storage=wanted.ephemeral_storage or default.ephemeral_storage or "10Gi",
    )


def _layers(
    observed: Observed, spec: ComputeEnvironmentSpec, namespace: str
) -> dict[str, LayerSpec]:
    there = {layer["metadata"]["name"]: layer for layer in observed.layers}
    found: dict[str, LayerSpec] = {}
    for asked in spec.layers:
        layer = there.get(asked.path_id)
        if layer is None:
            error = LayerNotFoundError.missing(
                path_id=asked.path_id, timestamp_id=asked.timestamp_id, namespace=namespace
            )
            raise _quoted("LayerNotFound", error)
        try:
            found[asked.path_id] = LayerSpec.model_validate(layer["spec"])
        except ValidationError as broken:
            message = f"Layer {asked.path_id} cannot be used: {invalid_input(broken).fact}"
            raise NotAcceptedError("LayerNotFound", message) from broken
    return found


def _excesses(resolved: Resolved) -> Iterator[tuple[str, str, str]]:
    """Yield (what, limit, asked) of everything that the runtime does not allow."""
    spec, runtime, limits = resolved.spec, resolved.runtime, resolved.runtime.limits
    if spec.nodes > limits.max_nodes:
        yield "maxNodes", str(limits.max_nodes), str(spec.nodes)
    for what, limit, asked in (
        ("cpu", limits.cpu, resolved.resources.cpu),
        ("memory", limits.memory, resolved.resources.memory),
    ):
        if limit and asked and parse_thousandths(asked) > parse_thousandths(limit):
            yield what, limit, asked
    gpus = resolved.gpu.count * spec.nodes if resolved.gpu else 0
    if limits.gpus is not None and gpus > limits.gpus:
        yield "gpus", str(limits.gpus), str(gpus)
    if spec.network.mode not in runtime.allow.network_modes:
        yield "networkModes", _listed(runtime.allow.network_modes), spec.network.mode
    if spec.network.egress and not runtime.allow.egress:
        yield "egress", "none", spec.network.egress[0].cidr
    for cidr in (it.cidr for it in spec.network.egress):
        if is_closed(cidr):
            yield "egress", "addresses that are not link-local", cidr
    yield from _template_excesses(resolved)


def _template_excesses(resolved: Resolved) -> Iterator[tuple[str, str, str]]:
    template, allow = resolved.spec.template, resolved.runtime.allow
    if template is None:
        return
    account, runtime_class = template.service_account_name, template.runtime_class_name
    if account and account not in allow.service_accounts:
        yield "serviceAccounts", _listed(allow.service_accounts), account
    if runtime_class and runtime_class not in allow.runtime_classes:
        yield "runtimeClasses", _listed(allow.runtime_classes), runtime_class
    for refused in unsafe_volumes(template):
        yield "volumes", "no way out of the pod", refused
    for key in sorted(template.annotations or {}):
        if key.startswith(CONFINEMENT):
            yield "annotations", "none that confine a container", key


def _secret_excesses(resolved: Resolved, observed: Observed) -> Iterator[tuple[str, str, str]]:
    """Yield Secrets that user code must never read: geopod's own, and those of Layers."""
    spec = resolved.spec
    asked = {it.name for it in spec.secrets}
    asked |= {it.secret_key_ref.name for it in spec.env if it.secret_key_ref is not None}
    for template in (spec.template, resolved.runtime.pod_template):
        volumes = template.volumes if template is not None else ()
        asked |= {name for it in volumes for name in secrets_of_volume(it)}
    credentials = ((it["spec"].get("credentials") or {}) for it in observed.layers)
    closed = {str(it.get("secretName", "")) for it in credentials}
    if resolved.runtime.index is not None:
        closed.add(resolved.runtime.index.secret_name or "")
    for name in sorted(asked):
        if name in closed or name.startswith("geopod-") or name.endswith(OWN_SECRETS):
            yield "secrets", "not geopod's own, an index's or a Layer's", name


def _listed(words: tuple[str, ...]) -> str:
    return f"[{', '.join(words)}]"
