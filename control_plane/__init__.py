"""The control plane: catalog, customers, usage; and the stream that keeps sidecars current."""
