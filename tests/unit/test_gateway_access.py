"""Who may touch what: the gateway's decision, without a socket."""

import pytest
from geopod.api import tokens
from geopod_gateway.access import Allowed, Asked, Refused, decide
from store_builders import SIGNING_KEY, UID, a_token

NOW = 1_800_000_000.0
ALL = a_token(now=NOW)
OTHER = "77777777-2f4e-4b21-9d0e-0c6a1f2d3e4b"
SHA = "a" * 64


def ask(target, *, method="GET", sent=(ALL,), now=NOW):
    """Decide about one request of the test's clock."""
    asked = Asked(method, target, sent)
    return decide(asked, key_of=lambda key_id: tokens.key_for(SIGNING_KEY, key_id), now=now)


@pytest.mark.parametrize(
    ("method", "target", "key"),
    [
        ("GET", f"/v1/objects/{UID}/runs/1/0-1-1/value", f"{UID}/runs/1/0-1-1/value"),
        ("HEAD", f"/v1/objects/{UID}/plans/{SHA}.json", f"{UID}/plans/{SHA}.json"),
        ("PUT", f"/v1/objects/{UID}/k", f"{UID}/k"),
        ("DELETE", f"/v1/objects/{UID}/k", f"{UID}/k"),
        ("GET", f"/v1/objects/{UID}/runs/", f"{UID}/runs/"),
        ("DELETE", f"/v1/objects/{UID}/", f"{UID}/"),
        ("POST", f"/v1/objects/{UID}/k?uploads", f"{UID}/k"),
        ("POST", f"/v1/objects/{UID}/k?upload={SHA[:40]}", f"{UID}/k"),
        ("PUT", f"/v1/objects/{UID}/k?upload={SHA[:40]}&part=3", f"{UID}/k"),
        ("GET", f"/v1/objects/{UID}/k?upload={SHA[:40]}", f"{UID}/k"),
        ("DELETE", f"/v1/objects/{UID}/k?upload={SHA[:40]}", f"{UID}/k"),
    ],
)
def test_own_folder_is_open(method, target, key):
    decided = ask(target, method=method)
    assert isinstance(decided, Allowed)
    assert (decided.key, decided.tenant) == (key, UID)


def test_tenant_of_what_a_namespace_shares_is_the_namespace():
    token = a_token("shared/geo/", key_id="shared/geo", now=NOW)
    decided = ask("/v1/objects/shared/geo/bundles/1/lock.txt", sent=(token,))
    assert isinstance(decided, Allowed)
    assert decided.tenant == "shared/geo"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(f"/v1/objects/{UID}/../{OTHER}/k", id="traversal"),
        pytest.param(f"/v1/objects/{UID}/./k", id="dot"),
        pytest.param(f"/v1/objects/{UID}//k", id="empty part"),
        pytest.param(f"/v1/objects//{UID}/k", id="empty first part"),
        pytest.param(f"/v1/objects/{UID}/%2e%2e/{OTHER}/k", id="escaped dots"),
        pytest.param(f"/v1/objects/{UID}%2fk", id="escaped separator"),
        pytest.param(f"/v1/objects/{UID}/..%2f{OTHER}/k", id="escaped separator after dots"),
        pytest.param(f"/v1/objects/{UID}/%252e%252e/k", id="twice escaped"),
        pytest.param(f"/v1/objects/{UID}/k%00", id="nul"),
        pytest.param(f"/v1/objects/{UID}/a%20b", id="escaped space"),
        pytest.param(f"/v1/objects/{UID}\\k", id="backslash"),
        pytest.param(f"/v1/objects/{UID}/..;/k", id="path parameter"),
        pytest.param(f"/v1/objects/{UID}/\uff0e\uff0e/k", id="full-width dots"),
        pytest.param(f"/v1/objects/{UID}/\u2024\u2024/k", id="one dot leader"),
        pytest.param(f"/v1/objects/{UID}/a\u2215b", id="division slash"),
        pytest.param(f"/v1/objects/{UID}/cafe\u0301", id="combining accent"),
        pytest.param(f"/v1/objects/{UID}/\u202ek", id="right to left"),
        pytest.param(f"/v1/objects/{UID}/\u0430", id="Cyrillic a"),
        pytest.param("/v1/objects/.part/put-1", id="unfinished files"),
        pytest.param(f"/v1/objects/{UID}/.hidden", id="leading dot"),
        pytest.param(f"/v1/objects/{UID}/k\n", id="line end"),
        pytest.param(f"/v1/objects/{UID}/{'a' * 256}", id="longer than a file's name"),
        pytest.param(f"/v1/objects/{'a/' * 600}k", id="longer than a key"),
        pytest.param("/v1/objects/", id="everything"),
        pytest.param("/v1/objects", id="no object"),
        pytest.param(f"/v1/Objects/{UID}/k", id="another spelling of the route"),
        pytest.param(f"//v1/objects/{UID}/k", id="two slashes before the route"),
        pytest.param(f"http://gateway/v1/objects/{UID}/k", id="absolute form"),
        pytest.param("*", id="asterisk form"),
    ],
)
def test_path_with_a_second_meaning_names_nothing(path):
    decided = ask(path)
    assert isinstance(decided, Refused)
    assert (decided.status, decided.reason) == (400, "BadKey")


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("GET", "x=1"),
        ("GET", "uploads"),
        ("PUT", "uploads"),
        ("PUT", "upload=1"),
        ("PUT", "upload=1&upload=2&part=1"),
        ("PUT", "upload=1&part=1&part=2"),
        ("POST", "upload=1&uploads"),
        ("POST", ""),
        ("HEAD", "upload=1"),
        ("GET", "upload=" + "a" * 300),
    ],
)
def test_query_of_no_operation_is_refused(method, query):
    decided = ask(f"/v1/objects/{UID}/k?{query}", method=method)
    assert isinstance(decided, Refused)
    assert (decided.status, decided.reason) == (400, "BadQuery")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", f"/v1/objects/{UID}/folder/"),
        ("HEAD", f"/v1/objects/{UID}/folder/"),
        ("POST", f"/v1/objects/{UID}/folder/?uploads"),
        ("POST", f"/v1/objects/{UID}/k"),
    ],
)
def test_operation_that_a_folder_or_object_does_not_have_is_refused(method, target):
    decided = ask(target, method=method)
    assert isinstance(decided, Refused)
    assert decided.status == 400


@pytest.mark.parametrize("method", ["PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "COPY"])
def test_other_methods_are_not_offered(method):
    decided = ask(f"/v1/objects/{UID}/k", method=method)
    assert isinstance(decided, Refused)
    assert decided.status == 405


FORGED = a_token(key=b"another key of the right length!", now=NOW)
READS = a_token(may=("get",), now=NOW)
RUN = a_token(f"{UID}/runs/1/", now=NOW)
ONE = a_token(f"{UID}/functions/{SHA}", may=("put",), now=NOW)


@pytest.mark.parametrize(
    ("sent", "method", "target", "status", "reason"),
    [
        pytest.param((), "GET", f"{UID}/k", 401, "NoToken", id="none"),
        pytest.param(("",), "GET", f"{UID}/k", 401, "NoToken", id="empty"),
        pytest.param((ALL, ALL), "GET", f"{UID}/k", 401, "ManyTokens", id="the header twice"),
        pytest.param(("x.y.z",), "GET", f"{UID}/k", 401, "Malformed", id="no JWT"),
        pytest.param((FORGED,), "GET", f"{UID}/k", 401, "BadSignature", id="another key"),
        pytest.param((ALL,), "GET", f"{OTHER}/k", 403, "OutOfScope", id="another environment"),
        pytest.param((ALL,), "GET", f"{UID}x/k", 403, "OutOfScope", id="a longer name"),
        pytest.param((ALL,), "DELETE", "shared/", 403, "OutOfScope", id="the shared folder"),
        pytest.param((RUN,), "GET", f"{UID}/runs/2/k", 403, "OutOfScope", id="another run"),
        pytest.param((RUN,), "DELETE", f"{UID}/runs/", 403, "OutOfScope", id="the folder above"),
        pytest.param((RUN,), "GET", f"{UID}/runs/", 403, "OutOfScope", id="listing above"),
        pytest.param((RUN,), "GET", f"{UID}/runs/1", 403, "OutOfScope", id="the folder as object"),
        pytest.param((READS,), "PUT", f"{UID}/k", 403, "NotPermitted", id="writing"),
        pytest.param((READS,), "DELETE", f"{UID}/k", 403, "NotPermitted", id="deleting"),
        pytest.param((READS,), "POST", f"{UID}/k?uploads", 403, "NotPermitted", id="an upload"),
        pytest.param((READS,), "GET", f"{UID}/k?upload=1", 403, "NotPermitted", id="its parts"),
        pytest.param((ONE,), "GET", f"{UID}/functions/{SHA}", 403, "NotPermitted", id="reading"),
        pytest.param((ONE,), "PUT", f"{UID}/functions/{SHA}x", 403, "OutOfScope", id="next to it"),
    ],
)
def test_token_opens_no_more_than_it_says(sent, method, target, status, reason):
    decided = ask(f"/v1/objects/{target}", method=method, sent=sent)
    assert isinstance(decided, Refused)
    assert (decided.status, decided.reason) == (status, reason)


def test_token_of_one_object_opens_that_object():
    assert isinstance(ask(f"/v1/objects/{UID}/functions/{SHA}", method="PUT", sent=(ONE,)), Allowed)


def test_expired_token_is_refused_after_the_leeway():
    late = NOW + 600 + tokens.LEEWAY_S
    assert isinstance(ask(f"/v1/objects/{UID}/k", now=late - 1), Allowed)
    decided = ask(f"/v1/objects/{UID}/k", now=late)
    assert isinstance(decided, Refused)
    assert (decided.status, decided.reason) == (401, "Expired")


def test_environment_cannot_mint_for_another_whatever_its_claims_say():
    """A coordinator holds its environment's key and can sign what it likes with it."""
    import jwt

    claims = {"path": f"{OTHER}/", "may": ["get"], "exp": int(NOW + 60)}
    own = tokens.key_for(SIGNING_KEY, UID)
    for key_id in (UID, OTHER):
        token = jwt.encode(claims, own, algorithm="HS256", headers={"kid": key_id})
        decided = ask(f"/v1/objects/{OTHER}/k", sent=(token,))
        assert isinstance(decided, Refused)


def test_no_refusal_repeats_the_token():
    for target in (f"/v1/objects/{OTHER}/k", "/v1/objects/..", f"/v1/objects/{UID}/k?x"):
        for sent in ((ALL,), (FORGED,), (ALL, ALL)):
            decided = ask(target, sent=sent)
            assert not any(token in repr(decided) for token in sent)


UPLOADS = a_token(may=("get", "upload"), now=NOW)
SHARED_UPLOADS = a_token("shared/geo/", key_id="shared/geo", may=("get", "upload"), now=NOW)


def upload(target, *, digest=SHA, method="PUT", token=UPLOADS):
    asked = Asked(method, f"/v1/objects/{target}", (token,), digest)
    return decide(asked, key_of=lambda key_id: tokens.key_for(SIGNING_KEY, key_id), now=NOW)


@pytest.mark.parametrize(
    ("target", "method", "token"),
    [
        (f"{UID}/functions/{SHA}", "PUT", UPLOADS),
        (f"{UID}/arguments/{SHA}", "PUT", UPLOADS),
        (f"{UID}/functions/{SHA}?uploads", "POST", UPLOADS),
        (f"{UID}/functions/{SHA}?upload={SHA[:40]}&part=3", "PUT", UPLOADS),
        (f"{UID}/functions/{SHA}?upload={SHA[:40]}", "POST", UPLOADS),
        (f"shared/geo/files/{SHA}", "PUT", SHARED_UPLOADS),
        (f"shared/geo/bundles/{SHA}/build.log", "GET", SHARED_UPLOADS),
        (f"{UID}/runs/1/0-1-1/value", "GET", UPLOADS),
    ],
)
def test_users_upload_what_is_named_by_its_bytes_and_read_all(target, method, token):
    digest = "" if "upload=" in target else SHA
    assert isinstance(upload(target, digest=digest, method=method, token=token), Allowed)


@pytest.mark.parametrize(
    ("target", "method", "digest", "token"),
    [
        (f"{UID}/functions/{SHA}", "PUT", "", UPLOADS),
        (f"{UID}/functions/{SHA}", "PUT", "b" * 64, UPLOADS),
        (f"{UID}/functions/{SHA}?uploads", "POST", "b" * 64, UPLOADS),
        (f"{UID}/functions/x/{SHA}", "PUT", SHA, UPLOADS),
        (f"{UID}/files/{SHA}", "PUT", SHA, UPLOADS),
        (f"{UID}/runs/1/{SHA}", "PUT", SHA, UPLOADS),
        (f"{UID}/orders/1.json", "PUT", SHA, UPLOADS),
        (f"{UID}/runs/1/manifest/1?upload={SHA[:40]}&part=1", "PUT", SHA, UPLOADS),
        (f"{UID}/functions/{SHA}", "DELETE", "", UPLOADS),
        (f"shared/geo/bundles/{SHA}/bundle.tar.zst", "PUT", SHA, SHARED_UPLOADS),
        (f"shared/geo/bundles/{SHA}", "PUT", SHA, SHARED_UPLOADS),
        (f"shared/other/files/{SHA}", "PUT", SHA, SHARED_UPLOADS),
    ],
)
def test_users_write_nothing_else(target, method, digest, token):
    decided = upload(target, digest=digest, method=method, token=token)
    assert isinstance(decided, Refused)
    assert decided.status == 403
