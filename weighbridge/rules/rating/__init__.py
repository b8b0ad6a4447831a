"""Rating: prices and usage in, line items out. `docs/rating.md` states every rule.

Pure values and functions, decimals only. A module each for currencies and exact decimals (`money`),
the one place that rounds (`rounding`), tables and packages (`tiers`), what a catalog sells by
(`prices`), what was used (`usage`), billing periods and shares of them (`period`), the result
(`charge`), the arithmetic (`rate`), a change of plan (`proration`), and what a subscription pays by
(`terms`).
"""
