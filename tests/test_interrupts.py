import os
import signal
import threading

import pytest

from fewlabels.interrupts import noticed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_only_remembered(number):
    before = signal.getsignal(number)

    with noticed() as asked:
        assert not asked()
        os.kill(os.getpid(), number)
        assert asked()

    assert before == signal.getsignal(number)


def test_the_second_signal_does_not_wait():
    with pytest.raises(KeyboardInterrupt), noticed():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_in_another_thread_nothing_changes():
    seen = []

    def work() -> None:
        with noticed() as asked:
            seen.append((asked(), signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert [(False, before)] == seen
