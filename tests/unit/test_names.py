"""Names: valid for Kubernetes, derived from their owner, paths below their own folder."""

from __future__ import annotations

import re

import pytest
from geopod.api import names
from geopod.errors import InvalidInputError
from hypothesis import given
from hypothesis import strategies as st

SHA = "ab" * 32


def an_environment_name():
    return st.from_regex(names.ENVIRONMENT_PATTERN.replace("$", r"\Z"), fullmatch=True).filter(
        lambda name: len(name) <= names.ENVIRONMENT_MAX
    )


@given(an_environment_name())
def test_every_child_of_an_environment_has_a_valid_name(environment):
    children = {
        names.node_name(environment),
        names.nodes_name(environment),
        names.coordinator_name(environment),
        names.link_name(environment),
    }
    assert len(children) == 4
    for child in children:
        assert re.fullmatch(names.DNS_LABEL, child)
        assert len(child) <= 63
    longest = f"{names.node_name(environment)}-{'x' * 10}"  # controller-revision-hash
    assert len(longest) <= 63


def test_bundle_names_carry_the_start_of_their_key():
    assert names.build_name(SHA) == f"geopod-build-{SHA[:16]}"
    assert names.bundle_name(SHA) == f"geopod-bundle-{SHA[:16]}"


def test_unnamed_environment_gets_a_name_that_fits():
    name = names.environment_name("123e4567-e89b-42d3-a456-426614174000")
    assert name == "env-123e4567-e89b-42d3-a456-426614174000"
    assert names.check_environment_name(name) == name


@pytest.mark.parametrize("name", ["a", "ndvi-env", "e2e", "a" * 40])
def test_environment_name_is_taken(name):
    assert names.check_environment_name(name) == name


@pytest.mark.parametrize("name", ["", "2nd", "Ndvi", "-a", "a-", "a_b", "a.b", "a" * 41, "a\n"])
def test_environment_name_is_refused(name):
    with pytest.raises(InvalidInputError, match="is no resource name"):
        names.check_environment_name(name)


@pytest.mark.parametrize("name", ["dem", "s2.l2a", "123e4567-e89b", "a" * 63])
def test_path_id_is_taken(name):
    assert names.check_path_id(name) == name


@pytest.mark.parametrize("name", ["DEM", "a..b", "a/b", ".a", "a" * 64])
def test_path_id_is_refused(name):
    with pytest.raises(InvalidInputError):
        names.check_path_id(name)


def test_run_name_may_start_with_a_digit():
    assert names.check_run_name("7f3") == "7f3"


def test_store_paths_lie_in_the_folder_of_their_owner():
    for key in (
        names.function_key("uid", SHA),
        names.arguments_key("uid", SHA),
        names.plan_key("uid", SHA),
        names.result_key("uid", "run", "0-1-1", "value"),
        names.pack_key("uid", "run", "1-7", 0),
        names.log_key("uid", "run", "0-1-1"),
        names.manifest_key("uid", "run", 1, 0),
    ):
        assert key.startswith("uid/")
    for key in (names.file_key(SHA, namespace="geo"), names.bundle_key("geo", SHA)):
        assert key.startswith(names.shared_prefix("geo"))


def test_manifest_chunks_sort_in_the_order_of_writing():
    keys = [names.manifest_key("e", "r", epoch, n) for epoch in (1, 2, 10) for n in (0, 2, 11)]
    assert keys == sorted(keys)


def test_child_labels_say_whose_they_are():
    assert names.child_labels("ndvi", "node") == {
        "app.kubernetes.io/name": "geopod",
        "app.kubernetes.io/instance": "ndvi",
        "app.kubernetes.io/component": "node",
        "app.kubernetes.io/managed-by": "geopod",
    }
