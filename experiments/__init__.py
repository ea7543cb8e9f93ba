"""The laboratory: studies of the package, which it imports and which never imports it."""
