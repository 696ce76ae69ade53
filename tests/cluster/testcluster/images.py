"""Builds geopod's images with buildah and pushes them to the cluster's registry, by digest."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .image_contexts import BASES, PROJECT, Base, base_archive, run, uv, wheel_context
from .places import cache_folder

Say = Callable[[str], None]


MAX_LAYERS = 80
"""Of the layer cache, then old ones go: half of them are whole environments of 0.7 GiB."""

COMPRESSION = ("--compression-format=zstd", "--compression-level=1")
"""Packed once and unpacked by each node: gzip takes a processor several times as long for both."""


@dataclass(frozen=True, slots=True)
class ImageKind:
    """A Dockerfile below `images/` and what goes into it."""

    folder: str
    package: str
    extras: tuple[str, ...]
    own: bool
    """Whether the image contains geopod itself."""
    pythons: tuple[str, ...]


KINDS = (
    ImageKind("operator", "geopod-operator", (), own=True, pythons=("3.11",)),
    ImageKind("agent", "geopod", ("kubernetes", "node", "stac"), own=True, pythons=("3.11",)),
    ImageKind("runtime", "geopod", ("geo",), own=False, pythons=("3.11", "3.13")),
)


@dataclass(frozen=True, slots=True)
class Built:
    """An image in the registry."""

    name: str
    reference: str
    """With its digest."""
    unpacked_mib: int


def build_images(registry: str, say: Say, kinds: tuple[ImageKind, ...] = KINDS) -> list[Built]:
    """Build and push every image.

    Raises:
        ClusterError: a build or a push failed, with the builder's last lines.
    """
    built = []
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="geopod-images-"))
        builder = Builder(Path(name), registry)
        stack.enter_context(builder.exclusive())
        for kind in kinds:
            for python in kind.pythons:
                built.append(builder.build(kind, BASES[python], say))
                say(f"{built[-1].name}: {built[-1].unpacked_mib} MiB, {built[-1].reference}")
    return built


class Builder:
    """buildah with a storage folder of its own, so that the machine's stays as it is."""

    def __init__(self, scratch: Path, registry: str) -> None:
        self._scratch, self._registry = scratch, registry
        storage = cache_folder() / "buildah"
        storage.mkdir(parents=True, exist_ok=True)
        settings = scratch / "storage.conf"
        run_root = scratch / "run"
        settings.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{storage}"\nrunroot = "{run_root}"\n',
            "utf-8",
        )
        policy = scratch / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}', "utf-8")
        self._environment = {"CONTAINERS_STORAGE_CONF": str(settings)}
        self._policy = ["--signature-policy", str(policy)]

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """One build at a time in this storage, free of what a killed one left."""
        with (cache_folder() / "buildah.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._buildah("rm", "--all")
            yield
            if len(self._buildah("images", "--all", "--quiet").split()) > MAX_LAYERS:
                self._buildah("rmi", "--prune")

    def build(self, kind: ImageKind, base: Base, say: Say) -> Built:
        """Build one image over one base, if it is not there as it is wanted, and push it.

        buildah's own cache reads all files of the layers again: 44 s for four images.
        """
        name = f"{kind.folder}-{base.python}" if len(kind.pythons) > 1 else kind.folder
        wheels = wheel_context(kind.package, kind.extras, base, own=kind.own, say=say)
        lock, own = (digest_of(wheels / name) for name in ("requirements.txt", "own.txt"))
        below = self._base(base, say)
        recipe = PROJECT / "images" / kind.folder
        made_of = f"{lock} {own} {below} {(recipe / 'Dockerfile').read_text('utf-8')}"
        key = hashlib.sha256(made_of.encode()).hexdigest()[:16]
        image = f"localhost/geopod/{name}:{key}"
        if image not in self._images():
            self._forget(f"localhost/geopod/{name}:")
            how = ["--isolation=chroot", "--layers", "--timestamp=0", "--quiet", *self._policy]
            how += [f"--build-context=wheels={wheels}", f"--build-context=uv={Path(uv()).parent}"]
            how += [f"--build-arg=BASE={below}", f"--build-arg=LOCKED={lock}"]
            how += [f"--build-arg=OWN={own}"] if own else []
            self._buildah("bud", *how, f"--tag={image}", str(recipe))
        digest_file = self._scratch / f"{name}.digest"
        target = f"docker://{self._registry}/geopod/{name}:latest"
        push = ["push", "--quiet", "--tls-verify=false", f"--digestfile={digest_file}"]
        self._buildah(*push, *COMPRESSION, *self._policy, image, target)
        digest = digest_file.read_text("ascii").strip()
        size = json.loads(self._buildah("images", "--json", image))[0]["size"]
        return Built(name, f"{self._registry}/geopod/{name}@{digest}", mebibytes(size))

    def _base(self, base: Base, say: Say) -> str:
        archive = base_archive(base, say)
        image = f"localhost/geopod/base-{base.suite}:{int(archive.stat().st_mtime)}"
        if image not in self._images():
            folder = self._scratch / base.suite
            folder.mkdir()
            shutil.copyfile(archive, folder / "base.tar")
            (folder / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n", "utf-8")
            how = ["--isolation=chroot", "--timestamp=0", "--quiet", *self._policy]
            self._buildah("bud", *how, f"--tag={image}", str(folder))
        return image

    def _forget(self, start: str) -> None:
        for image in self._images():
            if image.startswith(start):
                self._buildah("rmi", image)

    def _images(self) -> list[str]:
        return self._buildah("images", "--format", "{{.Name}}:{{.Tag}}").split()

    def _buildah(self, *arguments: str) -> str:
        # buildah leaves its storage mounted; in a mount namespace of its own nothing of it remains.
        command = ["unshare", "--mount", "buildah", *arguments]
        return run(command, environment=self._environment)


def digest_of(file: Path) -> str:
    """Return the hash of a file's content; empty: there is no such file."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


def mebibytes(size: str) -> int:
    """buildah prints sizes for people, "177 MB", in powers of ten."""
    number, unit = size.split()
    return round(float(number) * {"KB": 1e3, "MB": 1e6, "GB": 1e9}[unit.upper()] / 2**20)
