"""How many operations are worked on at a time: if all who ask at once shared the processor, none would be in time."""

import asyncio

from db.errors import OverloadedError
from db.session import WAIT_SECONDS
from db.statements import MAX_WAITING

AT_ONCE = 64
"""More than the database has connections, and together a few tenths of a second of work."""


class Turns:
    """The turns of a process, given in the order in which they are asked for."""

    def __init__(self) -> None:
        self.free = asyncio.Semaphore(AT_ONCE)
        self.waiting = 0


class Turn:
    """The turn of a request: to read it, and to compute its answer."""

    __slots__ = ("_is_held", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._is_held = False

    async def take(self) -> None:
        """Wait for it, unless it is held; raises OverloadedError when that would take too long."""
        if self._is_held:
            return
        turns = self._turns
        if not turns.free.locked():
            await turns.free.acquire()
        elif turns.waiting >= MAX_WAITING:
            raise OverloadedError(f"{MAX_WAITING} wait for their turn already")
        else:
            await self._wait(turns)
        self._is_held = True

    async def _wait(self, turns: Turns) -> None:
        turns.waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turns.free.acquire()
        except TimeoutError as error:
            raise OverloadedError(f"no turn came within {WAIT_SECONDS} seconds") from error
        finally:
            turns.waiting -= 1

    def give(self) -> None:
        """Let the next one have it, if it is held."""
        if self._is_held:
            self._is_held = False
            self._turns.free.release()
