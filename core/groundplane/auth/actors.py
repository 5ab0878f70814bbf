"""Who asks by other means than a token: plugins say it, and the record is looked up here."""

from __future__ import annotations

from collections.abc import Callable

from groundplane.auth.callers import Callers
from groundplane.context import SUPERUSERS, Caller
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import Actor, ActorRequest
from groundplane.schema.cache import SchemaCache


class Actors:
    """Asks plugins; `may_be_superuser` says of a plugin's name whether it is believed about superusers."""

    def __init__(
        self,
        callers: Callers,
        schema: SchemaCache,
        hooks: Hooks,
        may_be_superuser: Callable[[str], bool] = lambda plugin: False,
    ) -> None:
        self._callers = callers
        self._schema = schema
        self._hooks = hooks
        self._may_be_superuser = may_be_superuser

    async def resolve(self, request: ActorRequest) -> Caller | None:
        """The caller that the first plugin with an answer names; None is a guest. Raises what plugins raise."""
        found = await self._hooks.resolve_actor.ask(request.headers, event=request)
        if found is None:
            return None
        implementation, actor = found
        if not isinstance(actor, Actor) or not isinstance(actor.id, str):
            raise implementation.failed(f"it returned {type(actor).__name__}, not an Actor")
        collection = self._schema.current.get(str(actor.collection))
        if collection is None or not collection.is_auth:
            raise implementation.failed(f"{actor.collection!r} is no collection of accounts")
        if collection.name == SUPERUSERS and not self._may_be_superuser(implementation.plugin):
            raise implementation.failed("it named a superuser, which its configuration does not allow")
        record = await self._callers.record(collection, actor.id)
        if record is None:
            return None
        return Caller(
            id=record["id"],
            collection_id=collection.id,
            collection_name=collection.name,
            record=record,
            refreshable=False,
        )
