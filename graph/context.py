"""What one operation has at hand: a snapshot of the database, its loaders, and what it had to cut."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import strawberry
from sqlalchemy.ext.asyncio import AsyncEngine

from db.reading import ReadSession
from graph.access import ANYONE, Caller
from graph.cache import LASTING_SECONDS
from graph.dataloaders import Loaders
from graph.metrics import Metrics
from graph.watch import Watch

if TYPE_CHECKING:
    from graph.compiled.plans import Prepared


class Context:
    """The state of one operation; it takes a database connection at its first read."""

    def __init__(self, engine: AsyncEngine, caller: Caller = ANYONE, watch: Watch | None = None) -> None:
        self.engine = engine
        self.caller = caller
        self.watch = watch or Watch(Metrics())
        self.prepared: Mapping[str, Prepared] = {}
        """The root fields that are compiled where others are not, by response key."""
        self.answered: dict[str, Any] = {}
        """What was found for those: JSON to be passed on unread."""
        self.truncated: list[dict[str, Any]] = []
        self.ttl_seconds = LASTING_SECONDS
        self._origin: Context | None = None

    @cached_property
    def session(self) -> ReadSession:
        """The snapshot that every read of the operation sees."""
        return ReadSession(self.engine)

    @cached_property
    def loaders(self) -> Loaders:
        """The loaders of the operation; they belong to the running loop."""
        loaders = Loaders(self.session)
        self.watch.metrics.watch_loaders(loaders)
        return loaders

    def fresh(self) -> "Context":
        """Return the context of another operation over the same database."""
        context = Context(self.engine, self.caller, self.watch)
        context._origin, context.prepared = self, self.prepared
        return context

    def may_change(self, ttl_seconds: float = 0) -> None:
        """Have the answer kept no longer than so: it tells what can change while the data version stays.

        Such as a run's progress; without a time, the answer is not kept at all.
        """
        self.ttl_seconds = min(self.ttl_seconds, ttl_seconds)
        if self._origin is not None:
            self._origin.may_change(ttl_seconds)

    def tell_cut(self, path: list[str | int], limit: int) -> None:
        """Have the response say, in `extensions.truncated`, that a list was cut."""
        self.truncated.append({"path": path, "limit": limit})

    async def close(self) -> None:
        """Give the connection back."""
        if "session" in self.__dict__:
            await self.session.close()


Info = strawberry.Info[Context, None]
