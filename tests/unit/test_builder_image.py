"""A bundle as an image: the same bytes for the same bundle, and no others."""

import hashlib
import json
import tarfile

import pyarrow as pa
import pytest
from geopod.builder.image import diff_id_of, digest_of, holds, image_of
from geopod.builder.registry import Login, RegistryError, Repository, read_login

LAYER, DIFF_ID = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def an_image(**changed):
    values = {"layer": LAYER, "size": 12, "diff_id": DIFF_ID, "machine": "x86_64"}
    return image_of(**{**values, **changed})


def test_manifest_of_a_bundle_is_as_it_was_read():
    image = an_image()
    assert image.config == (
        b'{"architecture":"amd64","config":{},"os":"linux","rootfs":{"diff_ids":["sha256:'
        + b"b" * 64
        + b'"],"type":"layers"}}'
    )
    assert json.loads(image.manifest) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest_of(image.config),
            "size": len(image.config),
        },
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
                "digest": LAYER,
                "size": 12,
            }
        ],
    }
    assert digest_of(image.manifest) == (
        "sha256:22a5e1f73017daf480c71f177fe1f67239d79fbcaa4ed699fa2e062c05e8255e"
    )


@pytest.mark.parametrize(
    ("changed", "is_another"),
    [
        ({}, False),
        ({"machine": "AMD64"}, False),
        ({"machine": "aarch64"}, True),
        ({"layer": DIFF_ID}, True),
        ({"diff_id": LAYER}, True),
        ({"size": 13}, True),
    ],
)
def test_another_bundle_is_another_image(changed, is_another):
    assert (an_image(**changed).manifest != an_image().manifest) is is_another


def test_digest_of_a_layer_is_that_of_the_tar_in_it(tmp_path):
    plain, packed = tmp_path / "plain.tar", tmp_path / "packed.tar.zst"
    with tarfile.open(plain, "w") as archive:
        archive.add(__file__, "site-packages/a.py")
    with pa.CompressedOutputStream(str(packed), "zstd") as stream:
        stream.write(plain.read_bytes())
    assert diff_id_of(packed) == f"sha256:{hashlib.sha256(plain.read_bytes()).hexdigest()}"


@pytest.mark.parametrize(
    ("manifest", "is_it"),
    [
        pytest.param(an_image().manifest, True, id="its own"),
        pytest.param(an_image(layer=DIFF_ID).manifest, False, id="another layer's"),
        pytest.param(b'{"manifests": []}', False, id="an index"),
        pytest.param(b"<html>", False, id="no JSON"),
    ],
)
def test_manifest_is_known_by_its_layer(manifest, is_it):
    assert holds(manifest, LAYER) is is_it


@pytest.mark.parametrize(
    ("text", "url", "reference"),
    [
        ("ghcr.io/team/bundles", "https://ghcr.io/v2/team/bundles/x", "ghcr.io/team/bundles@d"),
        ("http://127.0.0.1:5000/b", "http://127.0.0.1:5000/v2/b/x", "127.0.0.1:5000/b@d"),
        ("https://r.example/a/", "https://r.example/v2/a/x", "r.example/a@d"),
    ],
)
def test_repository_is_where_the_runtime_says(text, url, reference):
    repository = Repository.parse(text)
    assert (repository.url("x"), repository.reference("d")) == (url, reference)


@pytest.mark.parametrize("text", ["ghcr.io", "ftp://a/b", "ghcr.io/Team", "a b/c", ""])
def test_what_is_no_repository_is_refused_by_name(text):
    with pytest.raises(RegistryError, match="bundleRegistry"):
        Repository.parse(text)


@pytest.mark.parametrize(
    ("host", "login"),
    [
        ("ghcr.io", Login("me:secret")),
        ("index.docker.io", Login("you:word")),
        ("team.azurecr.io", Login("0000:", "refreshes")),
        ("other.example", Login()),
    ],
)
def test_login_is_found_by_host_as_docker_writes_it(tmp_path, host, login):
    auths = {
        "ghcr.io": {"auth": "bWU6c2VjcmV0"},
        "https://index.docker.io/v1/": {"username": "you", "password": "word"},
        "team.azurecr.io": {"auth": "MDAwMDo=", "identitytoken": "refreshes"},
    }
    texts = {"broken": "{", "list": '{"auths": ["ghcr.io"]}', "odd": '{"auths": {"ghcr.io": "x"}}'}
    texts |= {"encoded": '{"auths": {"ghcr.io": {"auth": "bW"}}}'}
    for name, text in {**texts, "good": json.dumps({"auths": auths})}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / ".dockerconfigjson").write_text(text, "utf-8")
    assert read_login(tmp_path, host) == login
