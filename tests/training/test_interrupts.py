import os
import signal
import subprocess
import sys

import pytest

from aime_agent.training.interrupts import Wish, deaf_children, listening


def test_first_signal_is_a_wish_the_second_interrupts():
    wish = Wish()
    with listening(wish):
        os.kill(os.getpid(), signal.SIGTERM)
        assert wish
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_come_back():
    before = [signal.getsignal(x) for x in (signal.SIGINT, signal.SIGTERM)]
    with listening(Wish()):
        pass
    with deaf_children():
        pass
    assert [signal.getsignal(x) for x in (signal.SIGINT, signal.SIGTERM)] == before


def test_children_do_not_hear_the_keyboard():
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    with deaf_children():
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.strip() == b"True"
