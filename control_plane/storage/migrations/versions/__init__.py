"""One module per schema revision. A released one is never changed."""
