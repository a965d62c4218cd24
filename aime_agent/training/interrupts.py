"""Ctrl-C and SIGTERM as a wish that the loop reads between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Wish:
    """Set once a signal asked for the end."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def express(self) -> None:
        """Asks for the end."""
        self._event.set()


@contextmanager
def listening(wish: Wish) -> Iterator[None]:
    """Turns the first signal into a wish; the second interrupts at once.

    Outside the main thread Python allows no handlers, and signals act as they always do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        if wish:
            raise KeyboardInterrupt
        wish.express()

    old = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Lets SIGTERM raise `KeyboardInterrupt`, so that what ``finally`` promises is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Lets processes that start here ignore Ctrl-C, which a terminal sends to the whole group."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, old)
