"""PURE. (spec, observed, now) → desired objects and status; no clock, no chance, no I/O."""
