"""Statements: what customers are charged for what they used, by the prices that they were on."""
