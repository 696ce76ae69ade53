"""Which packages an environment needs, and the key of the bundle that holds them.

key = sha256(image digest, ABI, platform, requirements normalized and sorted, index, refresh).
Source: operator design, §8.
"""

from __future__ import annotations

from geopod.api import names
from geopod.api.runtime import PackageIndex
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from geopod_operator.environment.hashing import digest
from geopod_operator.environment.resolved import Resolved

BASE_PACKAGES = {
    "raster": ("affine", "numpy"),
    "vector": ("geopandas", "numpy", "pyarrow"),
}
"""What the runner needs to hand over a layer of this type. Source: data design, §4."""
ARCHITECTURE = "kubernetes.io/arch"


def wanted_packages(resolved: Resolved) -> tuple[str, ...]:
    """Return what must be installed, normalized and sorted; empty: the image has it all."""
    texts = {normalized(text) for text in resolved.spec.requirements}
    if not resolved.interpreter.base_packages:
        asked = {canonicalize_name(Requirement(text).name) for text in resolved.spec.requirements}
        needed = {name for it in resolved.layers.values() for name in BASE_PACKAGES[it.type]}
        texts |= needed - asked
    return tuple(sorted(texts))


def normalized(requirement: str) -> str:
    """Return one spelling of a requirement: canonical name, sorted extras and versions."""
    parsed = Requirement(requirement)
    parsed.name = canonicalize_name(parsed.name)
    return str(parsed)


def bundle_key(resolved: Resolved) -> str:
    """Return the key of the environment's bundle; empty if there is nothing to install."""
    packages = wanted_packages(resolved)
    if not packages:
        return ""
    index = resolved.runtime.index or PackageIndex()
    return digest(
        {
            "image": resolved.image.rpartition("@")[2],
            "python": resolved.interpreter.python,
            "abi": resolved.interpreter.abi or "",
            "platform": architecture(resolved),
            "requirements": packages,
            "index": index.to_wire(),
            "refresh": resolved.identity.annotations.get(names.ANNOTATION_REFRESH, ""),
        }
    )


def architecture(resolved: Resolved) -> str:
    """Return the machine architecture that the pods ask for; empty: whatever the image is for."""
    selector: dict[str, str] = resolved.template.get("nodeSelector", {})
    return selector.get(ARCHITECTURE, "")
