"""The models of the four resources: limits, defaults, aliases, requirements, quantities."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import Any

import pytest
from api_builders import a_function, a_layer_spec, a_run_spec, a_runtime_spec, an_environment_spec
from geopod.api import environment, layer, run, runtime
from geopod.api.common import Model, invalid_input
from geopod.api.environment import ComputeEnvironmentSpec
from geopod.api.layer import LayerSpec
from geopod.api.quantities import parse_bytes, parse_cpu
from geopod.api.requirements import check_requirements
from geopod.api.run import ComputeRunSpec
from geopod.api.runtime import ComputeRuntimeSpec
from geopod.errors import InvalidInputError, RequirementsError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError


def test_environment_defaults_are_those_of_the_design():
    spec = ComputeEnvironmentSpec()
    assert spec.to_wire() == {
        "runtime": "default",
        "layers": [],
        "files": [],
        "nodes": 1,
        "interpreter": "python3.12",
        "requirements": [],
        "largeResult": False,
        "enableGpu": False,
        "suspend": False,
        "env": [],
        "secrets": [],
        "partitioning": {
            "overlap": 0,
            "features": "owned",
            "balance": "mixed",
            "crs": "native",
            "extent": {"mode": "reference"},
            "cover": "core",
            "align": False,
            "skipNodata": False,
            "keepEmpty": False,
            "featureWeight": 2000,
            "headroom": 3,
            "vectorCrs": "work",
        },
        "nodeFailurePolicy": "Wait",
        "rollout": {
            "maxUnavailable": "10%",
            "drainSeconds": 600,
            "progressDeadlineSeconds": 1800,
        },
        "minReadyNodes": 1,
        "maxConcurrentRuns": 8,
        "maxQueuedRuns": 1000,
        "network": {"mode": "Restricted", "egress": []},
        "results": {"keepSeconds": 604_800, "onDelete": "Retain"},
        "historyLimit": {"succeeded": 50, "failed": 20},
    }


def test_run_defaults_are_those_of_the_design():
    wire = ComputeRunSpec.model_validate(a_run_spec()).to_wire()
    del wire["function"]
    assert wire == {
        "environment": "ndvi-env",
        "mode": "PerNode",
        "timeoutSeconds": 1800,
        "queueTimeoutSeconds": 3600,
        "retries": {"limit": 2, "on": ["Infra"]},
        "failurePolicy": "Continue",
        "priority": 0,
        "cancel": False,
        "onEmpty": "skip",
        "ttlSecondsAfterFinished": 604_800,
    }


def test_runtime_defaults_are_those_of_the_design():
    spec = ComputeRuntimeSpec.model_validate(a_runtime_spec())
    assert spec.resources.to_wire() == {"cpu": "1", "memory": "4Gi", "ephemeralStorage": "10Gi"}
    assert spec.agent_resources.to_wire() == {"cpu": "250m", "cpuLimit": "1", "memory": "768Mi"}
    assert (spec.default_nodes, spec.limits.max_nodes, spec.image_policy) == (1, 1000, "Digest")


def test_layer_timestamp_defaults_to_latest():
    spec = ComputeEnvironmentSpec.model_validate({"layers": [{"pathId": "dem"}]})
    assert spec.layers[0].timestamp_id == "latest"


@pytest.mark.parametrize(
    ("model", "values"),
    [
        pytest.param(environment.ComputeEnvironmentSpec, an_environment_spec(), id="environment"),
        pytest.param(run.ComputeRunSpec, a_run_spec(), id="run"),
        pytest.param(layer.LayerSpec, a_layer_spec(), id="layer"),
        pytest.param(runtime.ComputeRuntimeSpec, a_runtime_spec(), id="runtime"),
    ],
)
def test_wire_form_is_read_back_equal(model: type[Model], values: dict[str, Any]):
    spec = model.model_validate(values)
    assert model.model_validate(spec.to_wire()) == spec


def test_snake_case_inside_camel_case_outside():
    spec = ComputeEnvironmentSpec(large_result=True, min_ready_nodes=2)
    wire = spec.to_wire()
    assert (wire["largeResult"], wire["minReadyNodes"]) == (True, 2)


def test_secret_use_speaks_of_as():
    spec = ComputeEnvironmentSpec.model_validate({"secrets": [{"name": "keys", "as": "Env"}]})
    assert spec.secrets[0].as_ == "Env"
    assert spec.to_wire()["secrets"] == [{"name": "keys", "as": "Env"}]


def test_whole_object_keeps_metadata_that_geopod_does_not_read():
    whole = environment.ComputeEnvironment.model_validate(
        {
            "apiVersion": "geopod.dev/v1alpha1",
            "kind": "ComputeEnvironment",
            "metadata": {"name": "ndvi", "generation": 3, "managedFields": []},
            "spec": {"nodes": 2},
            "status": {"phase": "Ready", "nodes": {"ready": 2}, "lost": "0-1"},
        }
    )
    assert whole.metadata.generation == 3
    assert whole.status is not None
    assert whole.status.nodes is not None
    assert whole.status.nodes.ready == 2


# id, model, one wrong field, the field that is named
WRONG: list[tuple[str, type[Model], dict[str, Any], str]] = [
    ("too many nodes", ComputeEnvironmentSpec, an_environment_spec(nodes=1001), "nodes"),
    ("fewer than none", ComputeEnvironmentSpec, an_environment_spec(nodes=-1), "nodes"),
    ("unknown field", ComputeEnvironmentSpec, an_environment_spec(node=1), "node"),
    (
        "python2",
        ComputeEnvironmentSpec,
        an_environment_spec(interpreter="python2.7"),
        "interpreter",
    ),
    (
        "halo over the limit",
        ComputeEnvironmentSpec,
        an_environment_spec(partitioning={"overlap": 4097}),
        "partitioning.overlap",
    ),
    (
        "work CRS that is no code",
        ComputeEnvironmentSpec,
        an_environment_spec(partitioning={"crs": "WGS 84"}),
        "partitioning.crs",
    ),
    (
        "idle below a minute",
        ComputeEnvironmentSpec,
        an_environment_spec(idle={"afterSeconds": 59}),
        "idle.afterSeconds",
    ),
    (
        "share over all",
        ComputeEnvironmentSpec,
        an_environment_spec(rollout={"maxUnavailable": "101%"}),
        "rollout.maxUnavailable",
    ),
    (
        "no node unavailable",
        ComputeEnvironmentSpec,
        an_environment_spec(rollout={"maxUnavailable": 0}),
        "rollout.maxUnavailable",
    ),
    (
        "sixty-five layers",
        ComputeEnvironmentSpec,
        an_environment_spec(layers=[{"pathId": f"l{n}"} for n in range(65)]),
        "layers",
    ),
    (
        "mount through the parent",
        ComputeEnvironmentSpec,
        an_environment_spec(
            template={"volumeMounts": [{"name": "d", "mountPath": "/data/../geopod"}]}
        ),
        "template.volumeMounts.0.mountPath",
    ),
    (
        "mount through an empty part",
        ComputeEnvironmentSpec,
        an_environment_spec(template={"volumeMounts": [{"name": "d", "mountPath": "//geopod"}]}),
        "template.volumeMounts.0.mountPath",
    ),
    ("no environment", ComputeRunSpec, {"function": a_function()}, "environment"),
    ("capital in a name", ComputeRunSpec, a_run_spec(environment="Ndvi"), "environment"),
    ("zero seconds", ComputeRunSpec, a_run_spec(timeoutSeconds=0), "timeoutSeconds"),
    ("ranges with a gap", ComputeRunSpec, a_run_spec(partitions="0-,3"), "partitions"),
    (
        "inline over 128 KiB",
        ComputeRunSpec,
        a_run_spec(function=a_function(inline="A" * 174_768)),
        "function.inline",
    ),
    (
        "container is of a later release",
        ComputeRunSpec,
        a_run_spec(mode="Container"),
        "mode",
    ),
    (
        "upper-case digest",
        ComputeRunSpec,
        a_run_spec(function=a_function(sha256="A" * 64)),
        "function.sha256",
    ),
    ("files are of a later release", LayerSpec, a_layer_spec(type="files"), "type"),
    (
        "date in words",
        LayerSpec,
        a_layer_spec(timestamps=[{"id": "a", "uri": "/a", "date": "May"}]),
        "timestamps.0.date",
    ),
    ("no interpreter", ComputeRuntimeSpec, a_runtime_spec(interpreters=[]), "interpreters"),
    (
        "signed quantity",
        ComputeRuntimeSpec,
        a_runtime_spec(resources={"memory": "-4Gi"}),
        "resources.memory",
    ),
]


@pytest.mark.parametrize(
    ("model", "values", "field"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_wrong_field_is_named(model, values, field):
    with pytest.raises(ValidationError) as refused:
        model.model_validate(values)
    error = invalid_input(refused.value)
    assert isinstance(error, InvalidInputError)
    assert error.details["name"].startswith(field)
    assert field.split(".")[0] in str(error) or error.fact


def test_wrong_value_reads_as_a_sentence():
    with pytest.raises(ValidationError) as refused:
        ComputeEnvironmentSpec(nodes=-1)
    assert str(invalid_input(refused.value)) == (
        "GP-E110 nodes=-1 is refused: input should be greater than or equal to 0."
    )


def test_broken_rule_reads_as_its_message():
    with pytest.raises(ValidationError) as refused:
        ComputeEnvironmentSpec.model_validate({"gpu": {}})
    assert str(invalid_input(refused.value)) == "GP-E110 gpu needs enableGpu: true."


# ---- requirements


@pytest.mark.parametrize(
    "requirement",
    [
        "numpy",
        "rasterio>=1.4,<2",
        "geopandas[all]~=1.1; python_version >= '3.11'",
        "pkg @ https://example.com/pkg-1.0-py3-none-any.whl",
    ],
)
def test_requirement_is_taken(requirement):
    check_requirements([requirement])


@pytest.mark.parametrize(
    ("requirement", "why"),
    [
        ("geopandas=0.14", "use '=='"),
        ("rasterio >=", "version missing"),
        ("--index-url=https://evil.example", "options are not taken"),
        ("-e .", "options are not taken"),
        ("numpy\n--pre", "one requirement per string"),
        ("./local", "not a name with versions, as in 'numpy>=2'"),
        ("", "not a name with versions, as in 'numpy>=2'"),
        ("n" * 513, "longer than 512 characters"),
    ],
)
def test_requirement_is_refused_with_a_reason(requirement, why):
    with pytest.raises(RequirementsError, match="1 of 2 requirements are not valid") as refused:
        check_requirements(["numpy", requirement])
    assert f"({why})" in refused.value.fact


def test_one_string_is_not_spelled_into_letters():
    with pytest.raises(RequirementsError) as refused:
        check_requirements("numpy")
    assert refused.value.fixes == ("requirements=['numpy']",)


def test_model_raises_the_requirements_error_itself():
    with pytest.raises(ValidationError) as refused:
        ComputeEnvironmentSpec(requirements=("geopandas=0.14",))
    error = invalid_input(refused.value)
    assert isinstance(error, RequirementsError)
    assert error.code == "E111"


# ---- quantities


@pytest.mark.parametrize(
    ("quantity", "size"),
    [
        ("4Gi", 4_294_967_296),
        ("512Mi", 536_870_912),
        ("1.5Gi", 1_610_612_736),
        ("10G", 10_000_000_000),
        ("1e3", 1000),
        ("1500m", 2),
        (".5Ki", 512),
        (1024, 1024),
    ],
)
def test_memory_in_bytes(quantity, size):
    assert parse_bytes(quantity) == size


@pytest.mark.parametrize(("quantity", "millicores"), [("250m", 250), ("2", 2000), (".5", 500)])
def test_cpu_in_millicores(quantity, millicores):
    assert parse_cpu(quantity) == millicores


@pytest.mark.parametrize("quantity", ["", "-1", "4 Gi", "4gi", "Gi", "1.2.3", "1e"])
def test_no_quantity(quantity):
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_bytes(quantity)


@given(
    number=st.decimals(min_value=0, max_value=10**6, places=3),
    suffix=st.sampled_from(["", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"]),
)
def test_quantities_are_exact(number, suffix):
    base = 1024 if suffix.endswith("i") else 1000
    power = ["", "k", "m", "g", "t"].index(suffix[:1].lower())
    exact = Decimal(number) * base**power
    assert parse_bytes(f"{number}{suffix}") == int(exact.to_integral_value(ROUND_CEILING))
