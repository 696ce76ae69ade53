"""Tokens that a coordinator mints from its environment's key: its own, and one per run."""

from __future__ import annotations

import time
from collections.abc import Callable

from geopod.api import names, tokens

LIFETIME_S = 3600.0
RENEW_AT = 2 / 3
"""Of its life: a token that is in use never ends under way."""
SHORTEST_RESULTS_S = 3600.0
"""Whoever waited for a run can read its results, also when none are kept."""


class TokenMint:
    """Mints tokens of one environment."""

    def __init__(
        self, key: bytes, environment_uid: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._key = key
        self._uid = environment_uid
        self._clock = clock
        self._token = ""
        self._renew_at = 0.0

    def store_token(self) -> str:
        """Return a token for all of the environment's folder; a fresh one before it expires."""
        now = self._clock()
        if now >= self._renew_at:
            self._token = self._mint(f"{self._uid}/", tokens.PERMISSIONS, LIFETIME_S)
            self._renew_at = now + LIFETIME_S * RENEW_AT
        return self._token

    def results_token(self, run_uid: str, *, keep_s: float) -> str:
        """Return a token that reads what one run wrote, as long as that is kept."""
        return self._mint(names.run_prefix(self._uid, run_uid), ("get",), keep_s)

    def _mint(self, path: str, may: tuple[tokens.Permission, ...], lifetime_s: float) -> str:
        return tokens.mint(
            self._key,
            key_id=self._uid,
            path=path,
            may=may,
            now=self._clock(),
            lifetime_s=lifetime_s,
        )
