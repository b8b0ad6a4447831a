"""Usage: records settled exactly once, totals per window, queries."""
