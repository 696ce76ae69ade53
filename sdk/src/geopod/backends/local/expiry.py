"""What has passed its time: environments by their ttl, results by `results.keepSeconds`.

Done by every supervisor at its end, and for environments by every client at its start: no process
lives only to wait for it.
"""

from __future__ import annotations

import shutil

from geopod.api import names
from geopod.backends.local.presence import is_alive
from geopod.backends.local.state import StateFolder, StoredEnvironment
from geopod.backends.local.unfinished import stored_state

KEEP_RESULTS_S = 604_800
"""Of a run whose environment is gone: the resource's default, 7 days."""


def expire(folder: StateFolder, *, now: float) -> None:
    """Remove what has expired."""
    expire_environments(folder, now=now)
    kept = {
        record.uid: (record.spec.get("results") or {}).get("keepSeconds", KEEP_RESULTS_S)
        for record in folder.environments()
    }
    for order in folder.runs():
        finished = stored_state(folder.store, order).finished
        keep_s = kept.get(order.environment, KEEP_RESULTS_S)
        if finished is not None and now >= finished + keep_s:
            _remove_results(folder, order.environment, order.uid)


def expire_environments(folder: StateFolder, *, now: float) -> None:
    """Remove the environments that are past their ttl and asleep."""
    for record in folder.environments():
        ttl_s = record.spec.get("ttlSeconds")
        if ttl_s is None or now < _last_activity(folder, record) + ttl_s:
            continue
        with folder.locked(f"start-{record.name}"):
            if not is_alive(folder, record.name):
                folder.remove_environment(record, by="ttl")


def _last_activity(folder: StateFolder, record: StoredEnvironment) -> float:
    """Return when the environment was last used: by a run, or by a change of its record."""
    report = folder.read_report(record.name)
    heard = report.state.last_activity if report is not None else 0.0
    changed = (folder.environment(record.name) / "environment.json").stat().st_mtime
    return max(heard, changed)


def _remove_results(folder: StateFolder, environment_uid: str, run_uid: str) -> None:
    """Remove a run's results, logs and manifest; its order and its state tell that it was."""
    run = folder.store / names.run_prefix(environment_uid, run_uid)
    state = (folder.store / names.state_key(environment_uid, run_uid)).name
    for path in run.iterdir() if run.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != state:
            path.unlink(missing_ok=True)
