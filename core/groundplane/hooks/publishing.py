"""Shows a message about a change to plugins before it is queued for somebody outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import EventPublishing

if TYPE_CHECKING:
    from groundplane.schema.collection import Collection

FIXED = ("id", "type")  # by which receivers know a message and its repetitions


async def published(
    hooks: Hooks, message: dict[str, Any], collection: Collection, target: str
) -> dict[str, Any] | None:
    """The message as plugins leave it; None when one of them drops it for this target.

    Call it inside the transaction of the change. Raises what refuses the change.
    """
    hook = hooks.event_publishing
    if not hook or not hook.concerns(collection):
        return message
    # Plain values, and the plugins' own: other targets get the message as it was.
    own: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(message))
    event = EventPublishing(own, collection, target)

    def check() -> None:
        msgspec.json.encode(event.message)
        if any(event.message[key] != message[key] for key in FIXED):
            raise ValueError(f"{' and '.join(FIXED)} cannot change")
        if not isinstance(event.message["data"]["record"], dict):
            raise TypeError("data.record must be an object")

    await hook(collection, check=check, event=event)
    return None if event.is_dropped else event.message
