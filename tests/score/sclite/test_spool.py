from __future__ import annotations

import io
import sys

from zipperasr.score.sclite.spool import Spool


def copied(spool: Spool, speaker: bytes) -> bytes:
    target = io.BytesIO()
    spool.copy(speaker, target)
    return target.getvalue()


def test_pieces_are_returned_by_speaker_in_order():
    spool = Spool()
    for number in range(1000):
        spool.add(b"s%d" % (number % 3), b"%d," % number)
    assert copied(spool, b"s1") == b"".join(b"%d," % number for number in range(1, 1000, 3))
    assert copied(spool, b"nobody") == b""
    spool.close()


def test_many_pieces_of_one_speaker_need_no_more_memory_than_one():
    spool = Spool()
    for _ in range(10000):
        spool.add(b"s", b"x" * 100)
    (ranges,) = spool._ranges.values()
    assert sys.getsizeof(ranges) < 200
    assert len(copied(spool, b"s")) == 1000000
    spool.close()
