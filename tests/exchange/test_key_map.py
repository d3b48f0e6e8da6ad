"""The key table: the first full match applies, slices have keys, mistakes are reported with their line."""

from __future__ import annotations

import pytest

from zipperasr.exchange.key_map import DEFAULT, Target, load_key_map, map_names

HEADER = "pattern\tname\tchange\n"


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        (tmp_path / "map.tsv").write_text(text, encoding="utf-8")
        return tmp_path / "map.tsv"

    return write


def test_the_first_line_that_matches_the_full_name_applies(write):
    rules = load_key_map(
        write(f"# remark\n{HEADER}\nx\\.(\\d)\ty.\\1\t-\nx\\..*\t-\t-\nz\\.(\\w+)\tw[\\1]\ttranspose\n")
    )
    assert map_names(rules, ["x.1", "x.12", "z.de", "ax.1", "x"]) == {
        "x.1": Target("y.1", None, False),
        "x.12": None,
        "z.de": Target("w", "de", True),
    }


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("pattern\tname\n", r"map.tsv:1: got columns \['pattern', 'name'\], wanted"),
        (HEADER, r"map.tsv: the table is empty; wanted lines of pattern, name, change"),
        (HEADER + "a\tb\n", r"map.tsv:2: got 2 cells"),
        (HEADER + "a\tb\ttranpose\n", r"map.tsv:2: unknown change 'tranpose'; did you mean 'transpose'"),
        (HEADER + "a(\tb\t-\n", r"map.tsv:2: invalid pattern or name \(.*\): a\( -> b"),
        (HEADER + "a\tb\\1\t-\n", r"map.tsv:2: invalid pattern or name \(invalid group reference"),
        (HEADER + "a\tb[\t-\n", r"map.tsv:2: got name 'b\[', wanted name, name\[key\] or -"),
    ],
)
def test_a_mistake_is_reported_with_its_line(write, lines, said):
    with pytest.raises(ValueError, match=said):
        load_key_map(write(lines))


def test_groups_that_give_an_invalid_name_are_an_error(write):
    rules = load_key_map(write(HEADER + "(.*)\tb[\\1]\t-\n"))
    with pytest.raises(ValueError, match=r"key table: x\] is mapped to 'b\[x\]\]', wanted name or name\[key\]"):
        map_names(rules, ["x]"])


def test_the_default_table_maps_our_names_and_those_of_transformers_and_peft():
    names = {
        "module.adapters.router.bias": "adapters.router.bias",
        "encoder.whisper.layers.0.fc1.b_specific": "encoder.whisper.layers.0.fc1.b_specific",
        "model.encoder.layers.3.fc1.weight": "encoder.whisper.layers.3.fc1.weight",
        "encoder.conv1.bias": "encoder.whisper.conv1.bias",
        "base_model.model.encoder.layers.0.fc1.lora_A.weight": "encoder.whisper.layers.0.fc1.a",
        "base_model.model.model.encoder.layers.0.fc1.lora_B.default.weight": "encoder.whisper.layers.0.fc1.b_shared",
        "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight":
            "llm.base_model.model.model.layers.1.mlp.up_proj.lora_A.default.weight",
        "projector.norm.bias": "projector.norm.bias",
    }  # fmt: skip
    found = map_names(load_key_map(DEFAULT), names)
    assert {name: target.name for name, target in found.items()} == names
    assert map_names(load_key_map(DEFAULT), ["decoder.layers.0.fc1.weight"]) == {}
