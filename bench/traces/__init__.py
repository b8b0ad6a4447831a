"""Real usage traces through a running sidecar."""
