"""The services of the control plane: administration and the stream of sidecars."""
