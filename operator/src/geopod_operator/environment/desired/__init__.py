"""The child objects of an environment, one module per kind. Source: operator design, §4."""
