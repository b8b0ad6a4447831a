"""The stream to the control plane: snapshots come down, usage goes up."""
