"""The recipe: what is observed of one environment → what to do. No other place decides."""

from __future__ import annotations

from geopod_operator.environment.accepted import identity_of, resolve
from geopod_operator.environment.access import mint_tokens
from geopod_operator.environment.children import foreign, is_current
from geopod_operator.environment.desired.access import (
    coordinator_rights,
    link_secret,
    node_account,
)
from geopod_operator.environment.desired.coordinator import (
    coordinator_deployment,
    coordinator_service,
)
from geopod_operator.environment.desired.nodes import nodes_service, stateful_set
from geopod_operator.environment.hashing import stamped
from geopod_operator.environment.observed import Observed, Raw, ref_of
from geopod_operator.environment.outcome import Needs, Outcome
from geopod_operator.environment.resolved import Bundle, Refusal, Resolved
from geopod_operator.environment.status import is_gate_open, plan_status


def plan(observed: Observed) -> Outcome:
    """Return what to do for one environment now.

    Pure: the same observation gives the same plan, and a plan carried out and observed again
    asks for nothing. If `needs` of the outcome is true, fetch that and plan again.
    """
    resolved = resolve(observed)
    if isinstance(resolved, Refusal):
        return Outcome(status=plan_status(observed, resolved))
    minted = mint_tokens(identity_of(observed.environment), observed.settings, observed.now)
    wanted = [stamped(it) for it in _wanted(observed, resolved)]
    unknown = frozenset(ref_of(it) for it in wanted if ref_of(it) not in observed.children)
    if unknown:
        return Outcome(needs=Needs(children=unknown))
    conflict = foreign(observed, wanted)
    if conflict is not None:
        return Outcome(status=plan_status(observed, conflict))
    return Outcome(
        applies=tuple(it for it in wanted if not is_current(observed, it)),
        status=plan_status(observed, resolved),
        requeue_after=max(minted.slot.next - observed.now.timestamp(), 1.0),
    )


def _wanted(observed: Observed, resolved: Resolved) -> list[Raw]:
    settings, identity = observed.settings, resolved.identity
    minted = mint_tokens(identity, settings, observed.now)
    wanted = [
        node_account(identity),
        *coordinator_rights(identity),
        link_secret(identity, minted),
        coordinator_service(resolved),
        coordinator_deployment(resolved, settings, replicas=1),
        nodes_service(resolved),
    ]
    if is_gate_open(observed):
        wanted.append(
            stateful_set(resolved, settings, bundle=Bundle(), replicas=resolved.spec.nodes)
        )
    return wanted
