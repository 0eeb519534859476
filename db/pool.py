"""The pool of an API's connections: those who wait for one get it in their order.

asyncio's own queue lets whoever comes as a connection is given back go before those who wait, who then begin to wait
anew: under load, some would wait until their time is up.
"""

import asyncio
from typing import Any

from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util.concurrency import await_
from sqlalchemy.util.langhelpers import memoized_property
from sqlalchemy.util.queue import AsyncAdaptedQueue, Empty


class _InTurn(AsyncAdaptedQueue[Any]):
    @memoized_property
    def _turn(self) -> asyncio.Lock:
        # Made when it is first used: by then the loop runs.
        return asyncio.Lock()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take a connection, waiting if one must; raises Empty."""
        if not block:
            return self.get_nowait()
        try:
            return await_(asyncio.wait_for(self._next(), timeout))
        except TimeoutError as error:
            raise Empty from error

    async def _next(self) -> Any:
        # The lock is handed on in order; of its holders one at a time waits in the queue.
        async with self._turn:
            return await self._queue.get()


class FairPool(AsyncAdaptedQueuePool):
    """A pool whose waiting line has an order."""

    _queue_class = _InTurn
