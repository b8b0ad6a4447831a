"""What stored usage costs: to settle, to sum, to bill, and to keep."""
