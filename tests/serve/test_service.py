"""The server's description of its model."""

from __future__ import annotations

import pytest

from tests.model import tiny
from zipperasr.serve.service import router_weights


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    directory = tmp_path_factory.mktemp("backbones")
    tiny.write_backbones(directory)
    return tiny.model_config(directory)


@pytest.mark.parametrize(("variant", "high"), [("zipper_soft", "own"), ("zipper_hard", "shared")])
def test_router_weights_include_what_a_high_value_selects(config, variant, high):
    adapters = tiny.sft_model(config, variant).adapters
    found = router_weights(adapters)
    assert found["high"] == high
    assert [row["layer"] for row in found["rows"]] == [0, 1, 2]
    shares = adapters.specific_shares().mean(-1)
    names = list(adapters.layers)
    for row in found["rows"]:
        for column, p in zip(found["columns"], row["p"]["es"], strict=True):
            (index,) = [
                i for i, n in enumerate(names) if n.startswith(f"layers.{row['layer']}.") and n.endswith(column)
            ]
            assert p == pytest.approx(shares[index, tiny.CODES.index("es")].item())


def test_a_variant_without_a_router_has_no_weights(config):
    assert router_weights(tiny.sft_model(config, "vanilla").adapters) is None
    assert router_weights(None) is None
