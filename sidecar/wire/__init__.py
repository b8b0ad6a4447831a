"""Protobuf to values and back. Nothing of protobuf goes further in than here."""
