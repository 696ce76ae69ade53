"""The face's signatures are those of the genuine package, and what is ours is keyword-only."""

from __future__ import annotations

import inspect
import warnings

import pytest
from geopod.faces import ellipsis as face

with warnings.catch_warnings():  # it silences the warnings of the whole process
    from ellipsis.compute import root as genuine

CLIENTS = [
    "addToLayer",
    "createCompute",
    "downloadFile",
    "execute",
    "getComputeInfo",
    "listComputes",
    "terminateAll",
    "terminateCompute",
]


def parameters_of(function):
    return list(inspect.signature(function).parameters.values())


@pytest.mark.parametrize("name", CLIENTS)
def test_names_order_and_defaults_are_the_clients(name):
    ours = parameters_of(getattr(face.compute, name))
    theirs = [(it.name, it.default, it.kind) for it in parameters_of(getattr(genuine, name))]
    positional = [it for it in ours if it.kind is not it.KEYWORD_ONLY]
    assert [(it.name, it.default, it.kind) for it in positional] == theirs


@pytest.mark.parametrize("name", CLIENTS)
def test_what_is_ours_is_never_required(name):
    added = [it for it in parameters_of(getattr(face, name)) if it.kind is it.KEYWORD_ONLY]
    assert all(it.default is not it.empty for it in added)


@pytest.mark.parametrize("name", [*CLIENTS, "addLayer"])
def test_every_function_is_imported_from_where_scripts_look_for_it(name):
    assert getattr(face, name) is getattr(face.compute, name) is getattr(face.compute.root, name)


def test_documented_and_genuine_name_of_adding_are_one_function():
    assert face.addLayer is face.addToLayer


@pytest.mark.parametrize("module", ["account", "path", "util", "user", "apiManager"])
def test_module_without_counterpart_says_what_to_do(module):
    with pytest.raises(AttributeError, match=f"is compute alone and has no '{module}': "):
        getattr(face, module)
    assert not hasattr(face, module)
