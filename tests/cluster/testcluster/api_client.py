"""The few requests that bringing a cluster up takes, over one kept connection."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from .errors import ClusterError

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class ApiAnswerError(ClusterError):
    """The API server refused; while it starts it refuses much that it will allow a moment later."""


class ApiClient:
    """Speaks JSON to the API server as the cluster's administrator."""

    def __init__(self, server: str, certificates: Path, *, timeout_s: float = 10) -> None:
        trust = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
        trust.load_cert_chain(certificates / "admin.crt", certificates / "admin.key")
        where = urlsplit(server)
        self._connection = http.client.HTTPSConnection(
            where.hostname or "", where.port, context=trust, timeout=timeout_s
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, path: str) -> dict[str, Any]:
        """One object or list."""
        return self._ask("GET", path, None, JSON)

    def apply(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        """Create an object or make it what is given here, by server-side apply."""
        query = "?fieldManager=testcluster&force=true"
        return self._ask("PATCH", path + query, content, APPLY_PATCH)

    def patch(self, path: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        """Change an object by a JSON patch."""
        return self._ask("PATCH", path, content, JSON_PATCH)

    def _ask(self, method: str, path: str, content: Any, media_type: str) -> dict[str, Any]:
        body = None if content is None else json.dumps(content)
        try:
            self._connection.request(method, path, body, {"Content-Type": media_type})
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request dials again
            raise
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise ApiAnswerError(
                f"the API server answered {answer.status} to {method} {path}: {text[:300]!r}",
                fix="see logs/kube-apiserver.log in the cluster's folder",
            )
        found: dict[str, Any] = json.loads(text)
        return found
