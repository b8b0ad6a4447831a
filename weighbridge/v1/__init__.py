"""The wire contract, generated from proto/weighbridge/v1 (`make generate`)."""
