"""PURE. Token, path, method and now → allow or refuse, with the reason."""
