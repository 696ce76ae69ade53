"""The artifact store over HTTP. Not built yet; see ARCHITECTURE.md."""
