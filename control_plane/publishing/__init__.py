"""What each connected sidecar must be sent."""
