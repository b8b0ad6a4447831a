"""HTTP beside gRPC: administration as JSON, usage as CloudEvents."""
