"""The API server: the only room that talks to it. It decides nothing.

Import from its modules: `client` (ApiClient), `kinds`, `problems`, `limits`. Importing them costs
aiohttp; `kubernetes` is loaded when a kubeconfig is read, never before.
"""
