from __future__ import annotations

import platform

from zipperasr.report.machine import device, versions


def test_machine_is_described():
    found = device()
    assert int(found["cores"]) >= 1
    assert found["CPU"] and found["GPU"] and found["RAM"]
    assert versions()["python"] == platform.python_version()
    assert versions()["jiwer"][0].isdigit()
