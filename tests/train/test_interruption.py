"""SIGTERM stops all ranks after the same step, whenever it arrives."""

from __future__ import annotations

import multiprocessing
import os
import signal

from torch import distributed

from zipperasr.train.interruption import Interruption


def rank(number: int, store: str, answers) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=number, world_size=2)
    reduce = distributed.all_reduce

    def send_sigterm_during_the_reduction(*args, **kwargs):
        reduce(*args, **kwargs)
        if number == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    with Interruption() as interruption:
        before = interruption.wanted()
        distributed.all_reduce = send_sigterm_during_the_reduction
        during = interruption.wanted()
        distributed.all_reduce = reduce
        answers.put((number, before, during, interruption.wanted()))
    distributed.destroy_process_group()


def test_a_signal_during_the_reduction_counts_at_the_next_step(tmp_path):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    ranks = [context.Process(target=rank, args=(number, str(tmp_path / "store"), answers)) for number in range(2)]
    for process in ranks:
        process.start()
    heard = sorted(answers.get(timeout=60) for _ in ranks)
    for process in ranks:
        process.join(60)

    assert heard == [(0, False, False, True), (1, False, False, True)]
