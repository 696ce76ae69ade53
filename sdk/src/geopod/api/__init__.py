"""The contract: resources, messages, plan, manifest and names. No I/O, no clock, no chance.

Import the module you need (`geopod.api.run`, `geopod.api.messages`); this package loads none of
them, so that the coordinator and the agents never pay for pydantic.
"""
