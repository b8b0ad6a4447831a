"""The cold methods of the sidecar's API: GetEntitlements and Watch."""
