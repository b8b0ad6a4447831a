"""The seam that transports share, and the reference transport on grpc.aio."""
