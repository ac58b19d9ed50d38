import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from trapline.io.buffers import Buffers


def test_a_buffer_is_used_again():
    buffers = Buffers(1000)
    with buffers.lend(400) as first:
        assert first.dtype == np.uint8
    with buffers.lend(300) as again:
        assert again is first
    with buffers.lend(400) as one, buffers.lend(500) as other:
        assert one is not other


def test_what_exists_stays_below_the_limit():
    buffers = Buffers(1000)
    inside, most, lock = 0, 0, threading.Lock()

    def use(size):
        nonlocal inside, most
        with buffers.lend(size) as array:
            with lock:
                inside += size
                most = max(most, inside)
            array[:size] = 1
            with lock:
                inside -= size

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(use, [100, 300, 700, 50, 999, 1000] * 50))
    assert most <= 1000


def test_one_alone_may_be_larger():
    buffers = Buffers(100)
    with buffers.lend(5000) as array:
        assert array.size >= 5000
    with buffers.lend(50) as array:
        assert array.size < 5000  # the large one was let go


def test_it_comes_back_after_an_error():
    buffers = Buffers(100)
    with pytest.raises(ZeroDivisionError), buffers.lend(100):
        raise ZeroDivisionError
    with buffers.lend(100):
        pass
