"""Signals that end a program: they interrupt it once, and never where a child would be lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = [number for number in signal.Signals if number.name in ("SIGINT", "SIGTERM", "SIGHUP")]


@contextmanager
def interruptible() -> Iterator[None]:
    """Have the first SIGINT, SIGTERM or SIGHUP raise KeyboardInterrupt, unless the program has its own handler."""
    before = {number: signal.getsignal(number) for number in _settable()}
    for number, handler in before.items():
        if handler in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def holding_signals() -> Iterator[None]:
    """Hold signals back until the end of the block: an interrupt inside Popen leaves a child that nobody knows of."""
    held: list[int] = []
    before = {number: signal.getsignal(number) for number in _settable()}
    for number in before:
        # Not a mask: a child would inherit it.
        signal.signal(number, lambda number, _frame: held.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in held:
            signal.raise_signal(late)


def ignore_signals() -> None:
    """Go on to the end whatever signals arrive."""
    for number in _settable():
        # With SIG_IGN, Python complains on stderr of a signal that has already arrived.
        signal.signal(number, lambda _number, _frame: None)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if number not in (signal.SIGINT, signal.SIGTERM):
        # Servers and loaders have a handler for SIGTERM; a closed terminal should reach it.
        signal.raise_signal(signal.SIGTERM)
        return
    ignore_signals()
    raise KeyboardInterrupt


def _settable() -> list[signal.Signals]:
    # Only the main thread may set handlers.
    return STOPPING if threading.current_thread() is threading.main_thread() else []
