"""A resumed step that differs from the uninterrupted one is an error."""

from __future__ import annotations

import pytest
import torch


@pytest.mark.parametrize(
    ("loss", "shift", "message"),
    [
        (2.0, 0.0, None),
        (2.1, 0.0, "loss 5.0e-02"),
        (2.0, 0.5, "weights 5.0e-01 of the update"),
        (float("nan"), 0, "nan"),
    ],
)
def test_differences_are_found(root, tmp_path, monkeypatch, loss, shift, message):
    monkeypatch.syspath_prepend(root / "benchmarks")
    from resume import compare

    weights = torch.tensor([3.0, 4.0])
    torch.save({"loss": 2.0, "weights": weights, "update": 1.0}, tmp_path / "unbroken.pt")
    torch.save({"loss": loss, "weights": weights + torch.tensor([shift, 0.0])}, tmp_path / "resumed.pt")
    if message is None:
        assert compare(tmp_path) == (0.0, 0.0)
    else:
        with pytest.raises(ValueError, match=f"the resumed step differs: .*{message}"):
            compare(tmp_path)
