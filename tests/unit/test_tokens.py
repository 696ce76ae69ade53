"""Capability tokens: they open their folder, for a while, and nothing else."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode

import jwt
import pytest
from geopod.api import tokens
from geopod.api.tokens import Grant, Refusal, TokenRefusedError
from hypothesis import given
from hypothesis import strategies as st

SIGNING_KEY = b"0123456789abcdef0123456789abcdef"
UID = "3f0c"
NOW = 1_800_000_000.0


def key_of(key_id: str) -> bytes:
    return tokens.key_for(SIGNING_KEY, key_id)


def a_token(**changes) -> str:
    values = {
        "key_id": UID,
        "path": f"{UID}/runs/r1/",
        "may": ["get", "put"],
        "now": NOW,
        "lifetime_s": 600,
        **changes,
    }
    return tokens.mint(key_of(values["key_id"]), **values)


def refusal(token: str, permission="get", key=f"{UID}/runs/r1/0-1-1/value", now=NOW) -> Refusal:
    with pytest.raises(TokenRefusedError) as refused:
        tokens.authorize(token, permission, key, key_of=key_of, now=now)
    return refused.value.reason


def test_token_opens_its_folder():
    grant = tokens.authorize(a_token(), "put", f"{UID}/runs/r1/x", key_of=key_of, now=NOW)
    assert grant == Grant(UID, f"{UID}/runs/r1/", frozenset({"get", "put"}), NOW + 600)


def test_other_jwt_libraries_read_it():
    header, claims, _ = a_token().split(".")
    assert json.loads(jwt.utils.base64url_decode(header))["kid"] == UID
    assert json.loads(jwt.utils.base64url_decode(claims)) == {
        "path": f"{UID}/runs/r1/",
        "may": ["get", "put"],
        "exp": int(NOW + 600),
    }


@pytest.mark.parametrize(
    "key",
    [
        f"{UID}/runs/r10/value",
        f"{UID}/runs/r1",
        f"{UID}/runs/r1/../r2/value",
        f"{UID}/runs/r1//value",
        f"{UID}/runs/r1/%2e%2e/value",
        f"/{UID}/runs/r1/value",
        "other/runs/r1/value",
    ],
)
def test_token_opens_nothing_else(key):
    assert refusal(a_token(), key=key) is Refusal.OUT_OF_SCOPE


def test_token_does_what_it_says_and_no_more():
    assert refusal(a_token(may=["get"]), "put") is Refusal.NOT_PERMITTED


@pytest.mark.parametrize(
    ("later", "is_open"), [(0, True), (600, True), (629, True), (630, False), (6000, False)]
)
def test_token_ends(later, is_open):
    if is_open:
        tokens.verify(a_token(), key_of=key_of, now=NOW + later)
    else:
        assert refusal(a_token(), now=NOW + later) is Refusal.EXPIRED


def test_key_of_one_environment_opens_no_other():
    stolen = key_of("other")
    with pytest.raises(TokenRefusedError):
        tokens.mint(
            stolen, key_id="other", path=f"{UID}/runs/", may=["get"], now=NOW, lifetime_s=60
        )
    forged = jwt.encode(
        {"path": f"{UID}/", "may": ["get"], "exp": int(NOW + 60)},
        stolen,
        algorithm="HS256",
        headers={"kid": "other"},
    )
    assert refusal(forged) is Refusal.OUT_OF_SCOPE
    renamed = jwt.encode(
        {"path": f"{UID}/", "may": ["get"], "exp": int(NOW + 60)},
        stolen,
        algorithm="HS256",
        headers={"kid": UID},
    )
    assert refusal(renamed) is Refusal.BAD_SIGNATURE


def test_unsigned_token_is_refused():
    claims = {"path": f"{UID}/", "may": ["get"], "exp": int(NOW + 60)}
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": UID})
    assert refusal(unsigned) is Refusal.MALFORMED


@pytest.mark.parametrize(
    "token",
    [
        "",
        "abc",
        "a.b.c",
        urlsafe_b64encode(b'{"alg":"HS256","kid":"../x"}').decode().rstrip("=") + ".e30.AAAA",
        a_token()[:-8] + "AAAAAAAA",
    ],
    ids=["empty", "a word", "three words", "key id that climbs", "another signature"],
)
def test_broken_token_is_refused(token):
    assert refusal(token) in {Refusal.MALFORMED, Refusal.BAD_SIGNATURE}


def test_unknown_key_id_is_refused():
    with pytest.raises(TokenRefusedError, match="UnknownKey"):
        tokens.verify(a_token(), key_of=lambda _: None, now=NOW)


def test_token_without_end_is_refused():
    endless = jwt.encode(
        {"path": f"{UID}/", "may": ["get"]}, key_of(UID), algorithm="HS256", headers={"kid": UID}
    )
    assert refusal(endless) is Refusal.MALFORMED


def test_shared_token_opens_its_namespace_alone():
    token = a_token(key_id="shared/geo", path="shared/geo/", may=["get"])
    tokens.authorize(token, "get", "shared/geo/files/ab", key_of=key_of, now=NOW)
    assert refusal(token, key="shared/geology/files/ab") is Refusal.OUT_OF_SCOPE
    assert tokens.shared_key(SIGNING_KEY, "geo") == key_of("shared/geo")


def test_coordinator_mints_narrower_tokens():
    key = tokens.environment_key(SIGNING_KEY, UID)
    wide = tokens.verify(
        tokens.mint(key, key_id=UID, path=f"{UID}/", may=["get"], now=NOW, lifetime_s=100),
        key_of=key_of,
        now=NOW,
    )
    one_run = tokens.narrow(
        wide, key, path=f"{UID}/runs/r1/", may=["get"], now=NOW, lifetime_s=1000
    )
    assert tokens.verify(one_run, key_of=key_of, now=NOW).expires == NOW + 100
    with pytest.raises(TokenRefusedError):
        tokens.narrow(wide, key, path=f"{UID}/runs/", may=["put"], now=NOW, lifetime_s=10)
    with pytest.raises(TokenRefusedError):
        tokens.narrow(wide, key, path="other/", may=["get"], now=NOW, lifetime_s=10)


def test_link_proof_depends_on_everything_in_it():
    key = tokens.link_key(tokens.environment_key(SIGNING_KEY, UID))
    proof = tokens.link_proof(key, b"nonce", "pod", 1)
    assert len(proof) == 64
    others = {
        tokens.link_proof(key, b"other", "pod", 1),
        tokens.link_proof(key, b"nonce", "dop", 1),
        tokens.link_proof(key, b"nonce", "pod", 2),
        tokens.link_proof(b"another key", b"nonce", "pod", 1),
    }
    assert proof not in others
    assert len(others) == 4


parts = st.sampled_from([UID, "runs", "r1", "r2", "..", ".", "", "x%2f", "a\\b"])


@given(path=st.lists(parts, max_size=4), key=st.lists(parts, max_size=6), closed=st.booleans())
def test_no_grant_reaches_outside_its_path(path, key, closed):
    scope = "/".join([UID, *path]) + ("/" if closed else "")
    asked = "/".join(key)
    if Grant(UID, scope, frozenset({"get"}), NOW).allows("get", asked):
        assert ".." not in asked.split("/")
        assert asked == scope or (closed and asked.startswith(scope))
