"""The rules: what a catalog grants, when windows turn, and what a call is answered.

Pure Python: no I/O, no clock, no protobuf. The control plane and the sidecar run the same code.
"""
