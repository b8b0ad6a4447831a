"""Exporters: settled usage, summed, sent to the billing that is there. Each item once."""
