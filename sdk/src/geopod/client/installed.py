"""What an environment's requirements ask for, beside what is installed in this interpreter."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement
from packaging.version import InvalidVersion


def differing(requirements: Iterable[str]) -> list[str]:
    """Return each requirement that this interpreter does not meet, with what is here instead."""
    found = ((text, _here(Requirement(text))) for text in requirements)
    return [f"{text} (here: {here})" for text, here in found if here is not None]


def _here(requirement: Requirement) -> str | None:
    """Return what is installed instead of a requirement; None: what it asks for, or not meant."""
    if requirement.marker is not None and not requirement.marker.evaluate():
        return None
    try:
        known = version(requirement.name)
        is_met = requirement.specifier.contains(known, prereleases=True)
    except PackageNotFoundError:
        return "none"
    except InvalidVersion:  # of a package that was built by hand
        return known
    return None if is_met else known
