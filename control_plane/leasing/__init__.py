"""Leases: the parts of a limit that sidecars may spend, as rows, and what moves them."""
