"""The reference transport beside a bare echo."""
