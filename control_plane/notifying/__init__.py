"""What others are told: messages written with what they tell of, and their way to each endpoint."""

from control_plane.notifying.event_types import EventType
from control_plane.notifying.messages import Message, tell

__all__ = ["EventType", "Message", "tell"]
