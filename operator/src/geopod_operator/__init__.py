"""The kopf operator: a ComputeEnvironment becomes pods. Not built yet; see ARCHITECTURE.md."""
