"""Messages of a stream, and when its client is idle."""

from __future__ import annotations

import asyncio

import pytest

from zipperasr.serve import inbox
from zipperasr.serve.inbox import Inbox


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time, in its only element."""
    now = [0.0]
    monkeypatch.setattr(inbox, "monotonic", lambda: now[0])
    return now


async def processed(box: Inbox, seconds: float, clock: list[float], work_s: float = 0.0) -> None:
    """Put a message and take it for `work_s`."""
    await box.put(b"", seconds)
    await box.get()
    box.took(seconds)
    clock[0] += work_s
    box.done()


def test_a_tenth_of_the_time_must_be_covered_by_audio(clock):
    async def run() -> None:
        box = Inbox(60.0)
        for clock[0] in range(0, 580, 29):  # just over 10 % of the time
            assert not box.is_idle
            await processed(box, 3.0, clock)
        clock[0] += 59
        assert not box.is_idle and box.left_s == pytest.approx(1.0)
        await processed(box, 1e-4, clock)  # a single sample
        clock[0] += 1
        assert box.is_idle

    asyncio.run(run())


def test_the_time_does_not_run_while_a_message_waits_or_is_processed(clock):
    async def run() -> None:
        box = Inbox(60.0)
        clock[0] = 59.0
        await processed(box, 0.0, clock, work_s=100.0)
        assert box.left_s == pytest.approx(1.0)
        await box.put(b"")
        await box.put(b"")
        clock[0] += 100
        await box.get()
        box.done()
        clock[0] += 100
        assert not box.is_idle
        await box.get()
        box.done()
        clock[0] += 1
        assert box.is_idle

    asyncio.run(run())


@pytest.mark.parametrize(("limit", "most"), [("MAX_WAITING_S", 1.0), ("MAX_WAITING", 1)])
def test_a_full_inbox_makes_the_next_message_wait_and_keeps_it_when_the_wait_is_cancelled(monkeypatch, limit, most):
    monkeypatch.setattr(inbox, limit, most)

    async def run() -> None:
        box = Inbox(60.0)
        await box.put(b"1", 2.0)
        second = asyncio.ensure_future(box.put(b"2", 2.0))
        await asyncio.wait([second], timeout=0.01)
        assert not second.done()
        second.cancel()
        await asyncio.wait([second])
        third = asyncio.ensure_future(box.put(b"3"))
        await asyncio.sleep(0)
        found = []
        for _ in range(3):
            found.append(await box.get())
            box.took(box.waiting_s)
        await third
        assert second.cancelled() and found == [b"1", b"2", b"3"]

    asyncio.run(run())
