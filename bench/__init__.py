"""Benchmarks: real processes, measured and checked. See README.md."""
