"""Converters between the control plane's values and the wire contract."""
