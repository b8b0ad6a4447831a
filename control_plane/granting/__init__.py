"""Gives out leases: who gets how much of which limit, and who waits for whom."""
