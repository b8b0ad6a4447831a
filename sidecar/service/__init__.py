"""The cold methods of the sidecar's API: GetEntitlements, Watch and Meter."""
