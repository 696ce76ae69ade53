"""PURE. (spec, observed, now) → desired objects and status; no clock, no chance, no I/O.

`plan(Observed) -> Outcome` (`reconcile`) decides everything about one environment. The shell fills
in `Observed`, fetches what `Outcome.needs` names, and carries the rest out.
"""
