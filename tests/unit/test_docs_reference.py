"""The generated pages of the reference leave nothing out."""

from __future__ import annotations

import re
import sys

import click
import pytest
from geopod import errors
from geopod.api.crd import all_crds
from geopod.api.reasons import ENVIRONMENT_REASONS, RUN_REASONS
from geopod.cli import command as cli
from guide_builders import DOCS


@pytest.fixture(scope="module", autouse=True)
def extension():
    """The folder from which Sphinx loads the generators."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / "_ext"))
        yield
        for name in ("generated", "command_page", "error_page", "resource_page"):
            sys.modules.pop(name, None)


def test_every_code_has_its_section_with_a_sentence():
    from error_page import coded_classes, error_text

    sections = re.split(r"^\(gp-", error_text(), flags=re.MULTILINE)[1:]
    assert len(sections) == len(coded_classes()) > 45
    for found, section in zip(coded_classes(), sections, strict=True):
        code = f"GP-{found.code}"
        assert section.startswith(f"{found.code.lower()})=\n## {code} {found.__name__}\n")
        assert f"```text\n{code} " in section
        assert found("x").section.endswith(f"#{code.lower()}")


def test_errors_say_who_acts_what_catches_them_and_their_reasons():
    from error_page import error_text

    (memory,) = re.findall(r"## GP-E304.*?(?=\n\(gp-)", error_text(), re.DOTALL)
    assert "* Who acts: you." in memory
    assert "* Caught as `TaskError` and `MemoryError` too." in memory
    assert '* Tried again if `Retry(on=…)` names `"oom"`.' in memory
    assert "* `task.reason`: `OutOfMemory`." in memory
    words = set(re.findall(r"`(\w+)`", error_text()))
    assert words >= {*errors.TASK_REASONS, *errors.CONDITION_REASONS}


def test_sentences_that_are_all_the_callers_read_as_they_do_in_life():
    from error_page import error_text

    times = "\N{MULTIPLICATION SIGN}"
    sentences = [
        "GP-E110 memory='1' is 1 byte; a node needs at least 16 MiB.\nfix: 1) memory='1Gi'",
        "GP-E307 empty geometry (task 4 of 240, node 1, attempt 1)",
        (
            f'GP-E309 3 of 240 tasks failed: 2 {times} ValueError "empty geometry" (tasks 4, 9), '
            f"1 {times} Timeout (task 17). 237 results kept.\n"
            "fix: 1) run.results(errors='return')"
        ),
    ]
    for sentence in sentences:
        assert f"```text\n{sentence}\n```" in error_text()


def all_commands(group, path):
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from all_commands(command, f"{path} {name}")


def test_every_command_and_option_is_described():
    from command_page import command_text

    text = command_text()
    sections = dict(re.findall(r"^##+ (geopod .+)\n((?:(?!^#).*\n?)*)", text, re.MULTILINE))
    commands = dict(all_commands(cli.geopod, "geopod"))
    assert sections.keys() == commands.keys()
    for path, command in commands.items():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.opts[0] in sections[path], f"{path} {parameter.opts[0]}"


def test_exit_codes_are_a_table():
    from command_page import command_text

    rows = re.findall(r"^\| (\d+) \| (.+) \|$", command_text(), re.MULTILINE)
    assert [code for code, _ in rows] == ["0", "1", "2", "3", "4", "130"]
    assert rows[0][1] == "done"


def fields_of(schema):
    for name, child in schema.get("properties", {}).items():
        yield name
        inner = child
        while inner.get("type") == "array":
            inner = inner["items"]
        yield from fields_of(inner)


def test_every_field_rule_and_reason_of_the_resources_is_described():
    from resource_page import resource_text

    text = resource_text()
    for definition in all_crds():
        kind = definition["spec"]["names"]["kind"]
        parts = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        (section,) = re.findall(rf"^### {kind}\.spec\n.*?(?=^### )", text, re.DOTALL | re.MULTILINE)
        for name in fields_of(parts["spec"]):
            assert re.search(rf"[`.]{name}`", section), f"{kind}: {name}"
    assert "type cannot be changed: create another Layer." in text
    for conditions in (ENVIRONMENT_REASONS, RUN_REASONS):
        for condition, reasons in conditions.items():
            for reason in reasons:
                assert f"| `{condition}` | `{reason}` |" in text


def test_only_texts_that_are_made_may_be_asked_for():
    from generated import with_generated

    page = "see [chart](../../helm/geopod/README.md#values)\n<!-- generated: errors -->\n"
    text = with_generated(page)
    assert "(/reference/chart.md#values)" in text
    assert "## GP-E121 LayerNotFoundError" in text
    with pytest.raises(KeyError, match="recipes"):
        with_generated("<!-- generated: recipes -->")
