"""Requirement strings: PEP 508 and nothing else, so that none can become an installer's option."""

from __future__ import annotations

import re
from collections.abc import Sequence

from packaging.requirements import InvalidRequirement, Requirement

from geopod.errors import RequirementsError

MAX_CHARACTERS = 512
MAX_REQUIREMENTS = 256
PATTERN = r"^[A-Za-z0-9][^\r\n]*$"
"""What the API server checks: RE2 has no lookahead, so the first character rules options out."""
_ONE_EQUALS_SIGN = re.compile(r"^[A-Za-z0-9._-]+(\[[^\]]*\])?\s*=[^=]")
_OPERATOR_LAST = re.compile(r"(===|==|~=|!=|<=|>=|<|>|@)\s*$")


def check_requirements(requirements: Sequence[str]) -> None:
    """Accept PEP 508 strings; raises RequirementsError (E111) that names every wrong one."""
    if isinstance(requirements, str):
        raise RequirementsError.bare_string(text=requirements)
    wrong = [(text, why) for text in requirements if (why := _refusal(text)) is not None]
    if wrong:
        raise RequirementsError.invalid(total=len(requirements), wrong=wrong)


def _refusal(text: str) -> str | None:
    """Return why a string is no requirement, short enough for a list of them."""
    if text.startswith("-"):
        return "options are not taken"
    if len(text) > MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS} characters"
    if "\n" in text or "\r" in text:
        return "one requirement per string"
    try:
        Requirement(text)
    except InvalidRequirement:
        return _diagnosis(text)
    return None


def _diagnosis(text: str) -> str:
    if _ONE_EQUALS_SIGN.match(text):
        return "use '=='"
    if _OPERATOR_LAST.search(text):
        return "version missing"
    return "not a name with versions, as in 'numpy>=2'"
