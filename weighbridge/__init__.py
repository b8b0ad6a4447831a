"""Weighbridge: what an application installs. The client is `weighbridge.Client`."""
