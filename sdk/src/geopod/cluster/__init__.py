"""The API server: the only room that talks to it. It decides nothing."""
