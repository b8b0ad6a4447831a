"""Replays recorded usage through catalogs: who is refused, and what is charged. Sans-I/O."""
