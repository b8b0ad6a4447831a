"""What the control plane calls over HTTP: webhook endpoints, and the provider of top-ups."""
