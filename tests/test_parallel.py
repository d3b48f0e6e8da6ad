"""parallel.py: results in order, bounded look-ahead, and errors instead of waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

from zipperasr.parallel import ahead, processes


def test_results_are_in_order_and_computed_by_other_processes():
    with processes(3, lambda number: (number, os.getpid())) as apply:  # a lambda is inherited, not pickled
        numbers, workers = zip(*apply(range(50)), strict=True)
    assert list(numbers) == list(range(50))
    assert os.getpid() not in workers and len(set(workers)) <= 3


@pytest.mark.parametrize("count", [0, 1])
def test_one_process_is_this_one(count):
    with processes(count, lambda number: (number, os.getpid())) as apply:
        assert list(apply(range(3))) == [(number, os.getpid()) for number in range(3)]


def test_spawned_processes_import_the_function():
    with processes(2, abs, "spawn") as apply:
        assert list(apply([-1, 2, -3])) == [1, 2, 3]


def test_the_first_error_is_raised():
    def divide(number: int) -> float:
        return 6 / number

    with pytest.raises(ZeroDivisionError), processes(2, divide) as apply:
        list(apply([3, 2, 0, 1]))


def test_a_killed_process_is_an_error():
    def die(number: int) -> int:
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    killed = pytest.raises(ValueError, match="a process was killed, as happens when memory runs out")
    with killed, processes(2, die) as apply:
        list(apply(range(10)))


def test_processes_end_with_their_parent():
    program = """
import os, time
from zipperasr.parallel import processes

def work(number):
    print(os.getpid(), flush=True)
    time.sleep(600)

with processes(2, work) as apply:
    list(apply([1, 2]))
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert all(parent.stdout.readline() for _ in range(2))
    parent.kill()
    parent.communicate(timeout=60)  # returns when no process has the pipe open


def test_no_more_items_are_read_than_the_window_holds():
    read = []

    def items():
        for number in range(100):
            read.append(number)
            yield number

    with ThreadPoolExecutor(2) as pool:
        assert list(islice(ahead(pool, str, items(), 4), 3)) == ["0", "1", "2"]
    assert len(read) == 3 + 4


def test_the_window_is_worked_on_at_the_same_time():
    together = threading.Barrier(4, timeout=60)

    def wait(number: int) -> int:
        together.wait()
        return number

    with ThreadPoolExecutor(4) as pool:
        assert list(ahead(pool, wait, range(8), 4)) == list(range(8))
