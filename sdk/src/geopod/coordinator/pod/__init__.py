"""The outside of a coordinator in a pod: ComputeRuns in, statuses out, through the API server."""
