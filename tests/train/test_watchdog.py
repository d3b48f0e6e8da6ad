"""The watchdog logs where a training is stuck."""

from __future__ import annotations

import threading

from zipperasr.train.watchdog import Watchdog


def test_a_step_that_does_not_finish_is_logged_with_its_location(capsys):
    with Watchdog(0.2, rank=3) as watchdog:
        watchdog.beat(12)
        threading.Event().wait(0.35)
    (line,) = capsys.readouterr().err.splitlines()
    assert "watchdog: rank 3: no step finished for 0 s since step 12; stuck outside zipperasr" in line


def test_the_line_is_repeated_once_per_interval(capsys):
    with Watchdog(0.2, rank=0):
        threading.Event().wait(0.7)
    assert 2 <= len(capsys.readouterr().err.splitlines()) <= 3


def test_nothing_is_logged_while_steps_finish_in_time(capsys):
    with Watchdog(0.5, rank=0) as watchdog:
        for step in range(8):
            threading.Event().wait(0.1)
            watchdog.beat(step)
    assert capsys.readouterr().err == ""


def test_the_location_is_the_innermost_line_of_the_package(capsys, tmp_path):
    """Reading a pipe without a writer blocks in the package's own reader."""
    import os

    from zipperasr.text_lines import numbered_lines

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with Watchdog(0.2, rank=0):
        threading.Timer(0.5, lambda: pipe.open("w").close()).start()
        list(numbered_lines(pipe))
    assert "stuck at zipperasr/text_lines.py:" in capsys.readouterr().err


def test_it_can_be_switched_off(capsys):
    with Watchdog(0, rank=0):
        threading.Event().wait(0.2)
    assert capsys.readouterr().err == ""
