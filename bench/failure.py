"""What a bench raises when it cannot go on, or when what it measured is wrong."""


class BenchError(Exception):
    """The message is for the person who runs the bench."""
