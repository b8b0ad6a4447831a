"""What leases cost: calls, messages, and rows in the control plane."""
