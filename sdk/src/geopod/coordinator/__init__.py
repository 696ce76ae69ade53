"""Shell of `dispatch`: one process per environment that plans, assigns, commits and reports.

It never opens a user's function or value: bytes and typed messages pass through it only.
"""
