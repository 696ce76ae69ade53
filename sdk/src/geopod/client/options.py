"""Keywords of the SDK → `ComputeEnvironment.spec`: flattened snake_case to nested camelCase.

Durations are seconds or text (`"2h"`), sizes bytes or text (`"4Gi"`). The result is validated by
the resource's own model, so a wrong value fails here, before anything is sent.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypedDict

from geopod.client import given
from geopod.client.keywords import ENVIRONMENT, in_words_of
from geopod.client.quantities import whole_seconds
from geopod.client.script import check_python, own_script, required_by
from geopod.errors import InvalidInputError, RequirementsError
from geopod.errors.wording import limit_text, size_text

OWN_INTERPRETER = f"python{sys.version_info.major}.{sys.version_info.minor}"

LEAST_MEMORY_BYTES = 16 << 20
"""Less than a Python needs to start: a forgotten unit, as in memory="4"."""
IDLE_AFTER_S = 1800
LEAST_IDLE_S = 60
"""The resource's own limit."""
INTERPRETER = re.compile(r"python3\.[0-9]{1,2}")
QUANTITY = re.compile(r"[0-9]*\.?[0-9]+m?")
"""Of cpus: `2`, `0.5`, `500m`."""
MEANT_GIB = 1024
"""A number without a unit up to this one meant GiB."""


class EnvironmentOptions(TypedDict, total=False):
    """Keywords of `Client.environment` that become fields of the resource."""

    nodes: int | None
    """How many nodes, one partition each; default 1, None: what the cluster's runtime says."""
    interpreter: str | None
    """`python3.12`; default: the client's own minor version if it is offered, else the first."""
    requirements: str | Path | Sequence[str]
    """What to install, as for pip: a list, or the path of a requirements file."""
    large_result: bool
    """Results may be larger than 2 MiB; files come back as handles."""
    enable_gpu: bool
    """Give each node a GPU."""
    gpu: Mapping[str, Any] | None
    """Which GPUs: `{"resourceName": "nvidia.com/gpu", "count": 2}`."""
    cpus: float | str | None
    """Cores of a node, `2` or `"500m"`."""
    memory: int | str | None
    """Memory of a node, bytes or `"4Gi"`; a task that passes it fails with OutOfMemoryError."""
    env: Mapping[str, str] | None
    """Environment variables of the function."""
    secrets: Sequence[str | Mapping[str, str]]
    """Secrets that the function may read."""
    overlap: int
    """Halo around each partition, in pixels of the reference raster; default 0."""
    features: str | None
    """`"owned"` (default), `"intersects"` or `"clip"`: which features a node gets."""
    extent: Any
    """`"reference"` (default), `"intersection"`, `"union"`, or `(xmin, ymin, xmax, ymax)`."""
    balance: str | None
    """What nodes get an equal share of: `"mixed"` (default), `"bytes"`, `"features"`, `"area"`."""
    partitioning: Mapping[str, Any] | None
    """The other options of `spec.partitioning`, by their names there."""
    idle_after: float | str | None
    """Nodes end after so long without a run, and wake with the next; default `"30m"`, at most
    `ttl`."""
    ttl: float | str | None
    """The environment is deleted so long after its last activity; default `"24h"`."""
    keep_results: float | str | None
    """Results and logs are kept so long; default `"7d"`."""
    template: Mapping[str, Any] | None
    """Pod overrides on a cluster: node selector, tolerations, volumes and the like."""


def environment_spec(
    options: EnvironmentOptions, *, layers: Sequence[Mapping[str, Any]], files: Sequence[str]
) -> dict[str, Any]:
    """Return a validated `spec`; raises InvalidInputError (or a subclass) with the fix."""
    unknown = options.keys() - EnvironmentOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"environment() got unexpected keyword arguments {sorted(unknown)}")
    spec: dict[str, Any] = {"layers": [dict(layer) for layer in layers], "files": list(files)}
    spec["nodes"] = options.get("nodes", 1)
    spec["requirements"] = read_requirements(options.get("requirements", ()))
    spec["interpreter"] = _interpreter(options.get("interpreter") or OWN_INTERPRETER)
    if options.get("requirements") == "script":
        check_python(own_script(), spec["interpreter"])
    for keyword, field in (
        ("template", "template"),
        ("gpu", "gpu"),
    ):
        if options.get(keyword) is not None:
            spec[field] = options[keyword]  # type: ignore[literal-required]  # keys are listed above
    spec["largeResult"] = options.get("large_result", False)
    spec["enableGpu"] = options.get("enable_gpu", False)
    if resources := _resources(options):
        spec["resources"] = resources
    env = _mapping(options, "env", example="env={'NAME': 'value'}")
    if empty := [name for name, value in env.items() if value is None]:
        raise InvalidInputError.value(
            name="env", value={empty[0]: None}, why="has no value", fix=f"env={{{empty[0]!r}: ''}}"
        )
    spec["env"] = [{"name": name, "value": str(value)} for name, value in env.items()]
    spec["secrets"] = [_secret(secret) for secret in _secrets(options)]
    spec["partitioning"] = _partitioning(options)
    _life_times(options, spec)
    return validate(spec, given=options)


def validate(
    spec: Mapping[str, Any],
    *,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the spec with every default filled in, or raise InvalidInputError.

    `given`: the keywords that it was made of, as the error names them.
    """
    from pydantic import ValidationError  # only where an environment is made

    from geopod.api.common import invalid_input
    from geopod.api.environment import ComputeEnvironmentSpec  # loads pydantic

    with in_words_of(ENVIRONMENT, given):
        try:
            model = ComputeEnvironmentSpec.model_validate(spec)
        except ValidationError as error:
            raise invalid_input(error) from error
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def read_requirements(requirements: str | Path | Sequence[str]) -> list[str]:
    """Return requirement strings from a list, a requirements file, or `"script"`.

    `"script"`: the PEP 723 block of the script that runs.

    Raises RequirementsError for a bare string that is no file: it is nearly always one requirement.
    """
    if requirements == "script":
        return required_by(own_script())
    if isinstance(requirements, (str, Path)):
        path = Path(requirements)
        if isinstance(requirements, Path) and not path.is_file():
            raise InvalidInputError.value(
                name="requirements", value=str(path), why="is no file that can be read"
            )
        if not path.is_file():
            raise RequirementsError.bare_string(text=str(requirements))
        lines = (line.split(" #")[0].strip() for line in path.read_text("utf-8").splitlines())
        return [line for line in lines if line and not line.startswith("#")]
    return given.texts(requirements, name="requirements", example="requirements=['numpy']")


def _interpreter(asked: Any) -> str:
    """Return an interpreter's name; raises InvalidInputError for what no target can offer."""
    if not isinstance(asked, str) or not INTERPRETER.fullmatch(asked):
        meant = re.search(r"3\.[0-9]{1,2}", str(asked))
        fix = f"python{meant[0]}" if meant else OWN_INTERPRETER
        raise InvalidInputError.value(
            name="interpreter", value=asked, why="is no interpreter", fix=f"interpreter={fix!r}"
        )
    return asked


def _secrets(options: EnvironmentOptions) -> list[Any]:
    return given.listed(options.get("secrets", ()), name="secrets", example="secrets=['s3-keys']")


def _secret(secret: Any) -> dict[str, Any]:
    if isinstance(secret, str):
        return {"name": secret}
    return given.mapping(secret, name="secrets", example="secrets=['s3-keys']")


def _mapping(
    options: EnvironmentOptions, keyword: Literal["env", "partitioning"], *, example: str
) -> dict[str, Any]:
    """Return what a keyword maps; None: nothing."""
    found = options.get(keyword)
    return given.mapping({} if found is None else found, name=keyword, example=example)


def _cpus(cpus: Any) -> str:
    """Return a quantity of cpus; raises InvalidInputError for what is no number."""
    if isinstance(cpus, bool) or not QUANTITY.fullmatch(str(cpus)):
        raise InvalidInputError.value(
            name="cpus", value=cpus, why="is no number of cpus", fix="cpus=2"
        )
    return str(cpus)


def _resources(options: EnvironmentOptions) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    if (cpus := options.get("cpus")) is not None:
        resources["cpu"] = _cpus(cpus)
    if (memory := options.get("memory")) is not None:
        resources["memory"] = _memory(memory)
    return resources


def _memory(memory: int | str) -> str:
    """Return a quantity; raises InvalidInputError for one in which no Python starts."""
    from geopod.api.quantities import parse_bytes  # loads pydantic

    text = str(memory)
    try:
        size = parse_bytes(text)
    except ValueError as error:
        raise InvalidInputError.value(
            name="memory", value=memory, why="is no quantity of memory", fix="memory='4Gi'"
        ) from error
    if size < LEAST_MEMORY_BYTES:
        meant = f"{text}Gi" if text.isdigit() and 0 < size <= MEANT_GIB else "4Gi"
        raise InvalidInputError.value(
            name="memory",
            value=memory,
            why=f"is {size_text(size)}; a node needs at least {limit_text(LEAST_MEMORY_BYTES)}",
            fix=f"memory={meant!r}",
        )
    return text


def _partitioning(options: EnvironmentOptions) -> dict[str, Any]:
    partitioning = _mapping(options, "partitioning", example="partitioning={'align': True}")
    for keyword in ("overlap", "features", "balance"):
        value = options.get(keyword)
        if value is not None:
            partitioning[keyword] = value
    extent = options.get("extent")
    if isinstance(extent, str):
        partitioning["extent"] = {"mode": extent}
    elif isinstance(extent, Mapping):
        partitioning["extent"] = dict(extent)
    elif extent is not None:
        partitioning["extent"] = {"mode": "bbox", "bbox": _edges(extent)}
    return partitioning


def _edges(extent: Any) -> list[float]:
    example = "extent=(xmin, ymin, xmax, ymax)"
    edges = given.listed(extent, name="extent", example=example)
    return [given.number(edge, name="extent", example=example) for edge in edges]


def _life_times(options: EnvironmentOptions, spec: dict[str, Any]) -> None:
    if (ttl := options.get("ttl", "24h")) is not None:
        spec["ttlSeconds"] = whole_seconds(ttl, name="ttl")
    if "idle_after" not in options:
        within_s = max(spec.get("ttlSeconds", IDLE_AFTER_S), LEAST_IDLE_S)
        spec["idle"] = {"afterSeconds": min(IDLE_AFTER_S, within_s)}
    elif (idle := options["idle_after"]) is not None:
        spec["idle"] = {"afterSeconds": whole_seconds(idle, name="idle_after")}
    if (keep := options.get("keep_results", "7d")) is not None:
        spec["results"] = {"keepSeconds": whole_seconds(keep, name="keep_results")}
