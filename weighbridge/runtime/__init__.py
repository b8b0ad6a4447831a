"""What both processes need to run: clock, logs, probes, status codes, loopback tokens."""
