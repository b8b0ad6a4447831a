"""What a change of a catalog or a customer costs, by number of customers."""
