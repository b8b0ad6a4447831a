"""The `weighbridge` command: the only part that sees both processes."""
