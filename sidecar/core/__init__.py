"""The sidecar's core, sans-I/O: it takes `now` and plain values and returns values.

One thread owns all of it.
"""
