"""What all custom resources share: base model, rules, limited strings, quantities, references.

Models are frozen, camelCase outside and snake_case inside. `crd.py` reads their JSON schema, so
everything that the API server must check is said here in pydantic's terms or as a `Rule`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from geopod.api import names
from geopod.api.quantities import Quantity
from geopod.errors import GeopodError, InvalidInputError
from geopod.errors.wording import value_text

CEL_RESERVED = frozenset({
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "in", "let",
    "loop", "namespace", "package", "return", "var", "void", "while",
})  # fmt: skip  # a set of words reads best in lines
"""Words that CEL keeps for itself: a property of that name is written `self.__word__`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One CEL rule of a model, and the same rule in Python: both sides say `message`."""

    cel: str
    message: str
    """Names the fix."""
    holds: Callable[[Any], bool]
    """Takes the model; its `has(self.x)` is `x is not None`."""
    field: str | None = None
    """Alias of the property that carries the rule, there `self`; None: the object itself."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One CEL rule over a change; `allows` takes the old and the new model."""

    cel: str
    message: str
    allows: Callable[[Any, Any], bool]
    field: str | None = None


def immutable(field: str) -> Transition:
    """Return the rule that `field` (its alias) of an object is set once or never.

    The rule stands on the object: one on an optional field itself misses that it is set or unset.
    """
    name = f"__{field}__" if field in CEL_RESERVED else field
    cel = (
        f"has(self.{name}) == has(oldSelf.{name}) && "
        f"(!has(self.{name}) || self.{name} == oldSelf.{name})"
    )

    def allows(old: Model, new: Model) -> bool:
        return old.to_wire().get(field) == new.to_wire().get(field)

    return Transition(cel, f"{field} cannot be changed; create another object.", allows)


def _add_rules(schema: dict[str, Any], model: type[Model]) -> None:
    """Write a model's rules into its JSON schema, where `crd.py` finds them."""
    rules: list[Rule | Transition] = [*model.RULES, *model.TRANSITIONS]
    for rule in rules:
        target = schema if rule.field is None else schema["properties"][rule.field]
        entry = {"rule": rule.cel, "message": rule.message}
        target.setdefault("x-kubernetes-validations", []).append(entry)


class Model(BaseModel):
    """Base of everything inside a custom resource."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        defer_build=True,  # a client builds the few models that it uses, not all of them
        json_schema_extra=_add_rules,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()
    TRANSITIONS: ClassVar[tuple[Transition, ...]] = ()

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        for rule in self.RULES:
            if not rule.holds(self):
                raise ValueError(rule.message)
        return self

    def refusals(self, old: Self) -> list[str]:
        """Return why `old` may not become this: the messages of the broken transition rules."""
        return [rule.message for rule in self.TRANSITIONS if not rule.allows(old, self)]

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object of the resource: camelCase, defaults filled in, no nulls."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def invalid_input(error: ValidationError) -> GeopodError:
    """Return the public error of the first thing that pydantic found wrong.

    A validator's own GeopodError (requirements) is returned as it is. The details of the others
    have `path`, `value` and `why`, for who calls the fields something else.
    """
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, GeopodError):
        return cause
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":
        return InvalidInputError(str(cause), details={"name": path})
    why = f"is refused: {first['msg'][:1].lower()}{first['msg'][1:]}"
    found = InvalidInputError.value(name=path, value=first["input"], why=why)
    found.details |= {"path": list(first["loc"]), "value": value_text(first["input"]), "why": why}
    return found


# ---- limited strings and lists

LIST_MAP = "x-kubernetes-list-type"


def keyed_by(*keys: str) -> dict[str, Any]:
    """Return the schema words of a list whose items are told apart by these properties."""
    return {LIST_MAP: "map", "x-kubernetes-list-map-keys": list(keys)}


AS_SET: dict[str, Any] = {LIST_MAP: "set"}
"""Schema words of a list without equal items."""
AS_WHOLE: dict[str, Any] = {LIST_MAP: "atomic"}
"""Schema words of a list that one writer owns as a whole."""
INT_OR_STRING: dict[str, Any] = {"x-kubernetes-int-or-string": True}

DnsLabel = Annotated[str, StringConstraints(pattern=names.DNS_LABEL, min_length=1, max_length=63)]
ObjectName = Annotated[
    str, StringConstraints(pattern=names.DNS_SUBDOMAIN, min_length=1, max_length=253)
]
"""Name of a Secret, ConfigMap, ServiceAccount …"""
EnvironmentName = Annotated[
    str,
    StringConstraints(
        pattern=names.ENVIRONMENT_PATTERN, min_length=1, max_length=names.ENVIRONMENT_MAX
    ),
]
KeyText = Annotated[str, StringConstraints(min_length=1, max_length=63)]
"""pathId, timestampId."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", min_length=64, max_length=64)]
Uri = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Cidr = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$", min_length=4, max_length=43),
]
Port = Annotated[int, Field(ge=1, le=65_535)]
Interpreter = Annotated[str, StringConstraints(pattern=r"^python3\.[0-9]{1,2}$", max_length=10)]
Ranges = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$", max_length=1024),
]
"""Compressed index ranges, `0-3,9`."""
EpsgCode = Annotated[str, StringConstraints(pattern=r"^EPSG:[0-9]{4,6}$", max_length=64)]
Time = datetime
"""RFC 3339."""

# ---- references and resources


class Resources(Model):
    """What one node's runner asks for, request and limit at once."""

    cpu: Quantity | None = None
    """CPU cores, `2` or `500m`."""
    memory: Quantity | None = None
    """Memory, `4Gi`: a task over it is killed and reported as OutOfMemory."""
    ephemeral_storage: Quantity | None = None
    """Scratch on the node's disk, `10Gi`: staged partition, files of tasks."""


class LocalReference(Model):
    """An object of the same namespace, by its name."""

    name: ObjectName
    """The object's name."""


class Artifact(Model):
    """Bytes in the store, by their content."""

    sha256: Sha256
    """sha256 of the bytes, in hex."""
    bytes: Annotated[int, Field(ge=0)]
    """How many bytes."""


class ObjectMeta(BaseModel):
    """The part of Kubernetes' own metadata that geopod reads; the rest is kept."""

    model_config = ConfigDict(
        frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True
    )

    name: str
    namespace: str | None = None
    uid: str | None = None
    generation: int | None = None
    resource_version: str | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
