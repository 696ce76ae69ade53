"""The SDK's surface: coroutines in `aio` (the only implementation), plain names in `sync`."""
