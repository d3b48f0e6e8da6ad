"""Tensors are read from other tools' checkpoints; unsafe, damaged or unknown files are reported in one line."""

from __future__ import annotations

import json
import os
import pickle
import random
import time
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from zipperasr.exchange.foreign import open_checkpoint

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.bfloat16), "n": torch.tensor([3])}


def assert_same(entries, wanted=TENSORS):
    assert {name: (entry.shape, entry.dtype) for name, entry in entries.items()} == {
        name: (tuple(tensor.shape), str(tensor.dtype).split(".")[1]) for name, tensor in wanted.items()
    }
    assert all(torch.equal(entries[name].load(), tensor) for name, tensor in wanted.items())


def test_safetensors(tmp_path):
    kinds = {"u": torch.zeros(1, dtype=torch.uint8), "t": torch.tensor([True]), "h": torch.zeros(2, dtype=torch.half)}
    save_file({**TENSORS, **kinds}, tmp_path / "x.safetensors")
    assert_same(open_checkpoint(tmp_path / "x.safetensors"), {**TENSORS, **kinds})


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_of_both_kinds(tmp_path, suffix, zipped):
    torch.save(TENSORS, tmp_path / f"x{suffix}", _use_new_zipfile_serialization=zipped)
    assert_same(open_checkpoint(tmp_path / f"x{suffix}"))


@pytest.mark.parametrize(
    "tree",
    [
        {"state_dict": TENSORS, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
        {"module": {"model": TENSORS}, "ds_version": "1"},
        {"model": TENSORS, "args": {"lr": 0.1}},
        {"a": {"weight": TENSORS["a.weight"]}, "b": TENSORS["b"], "n": TENSORS["n"], "model": "name"},
    ],
)
def test_prefixes_of_trainers_are_removed(tmp_path, tree):
    torch.save(tree, tmp_path / "x.pt")
    assert_same(open_checkpoint(tmp_path / "x.pt"))


def test_lists_are_numbered(tmp_path):
    torch.save([{"w": torch.ones(1)}, {"w": torch.zeros(1)}], tmp_path / "x.pt")
    assert sorted(open_checkpoint(tmp_path / "x.pt")) == ["0.w", "1.w"]


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("save", [torch.save, lambda tree, path: path.write_bytes(pickle.dumps(tree))])
def test_pickled_code_is_never_run(tmp_path, monkeypatch, save):
    monkeypatch.chdir(tmp_path)
    save({"w": torch.ones(1), "x": Evil()}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x.pt: (contains more than tensors, and opening it could run code|damaged)"):
        open_checkpoint(tmp_path / "x.pt")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
@pytest.mark.parametrize("size", [0, 3, 40, 700])
def test_damaged_files_are_named(tmp_path, name, size):
    path = tmp_path / name
    (torch.save if name == "x.pt" else save_file)(TENSORS, path)
    path.write_bytes(path.read_bytes()[: min(size, path.stat().st_size - 1)])
    with pytest.raises(ValueError, match=rf"{name}: (damaged, or not a|contains more than tensors)"):
        open_checkpoint(path)


@pytest.mark.parametrize("kind", ["safetensors", "zipped", "legacy"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_any_changed_byte_or_truncation_is_reported_or_harmless(tmp_path, kind):
    path = tmp_path / ("x.safetensors" if kind == "safetensors" else "x.pt")
    if kind == "safetensors":
        save_file(TENSORS, path)
    else:
        torch.save(TENSORS, path, _use_new_zipfile_serialization=kind == "zipped")
    content, draw, noticed = path.read_bytes(), random.Random(1), 0
    for place in range(0, len(content), 1 + len(content) // 200):
        changed = bytes([content[place] ^ draw.randrange(1, 256)])
        for damaged in (content[:place], content[:place] + changed + content[place + 1 :]):
            path.write_bytes(damaged)
            try:
                open_checkpoint(path)
            except ValueError as error:
                assert str(error).startswith(f"{path}: "), error
                noticed += 1
    assert noticed > 100


def shards(directory, places=None) -> None:
    save_file({"a.weight": TENSORS["a.weight"]}, directory / "model-00001-of-00002.safetensors")
    save_file({"b": TENSORS["b"], "n": TENSORS["n"]}, directory / "model-00002-of-00002.safetensors")
    first, second = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    index = {"weight_map": places or {"a.weight": first, "b": second, "n": second}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def test_sharded_index_files(tmp_path):
    shards(tmp_path)
    assert_same(open_checkpoint(tmp_path))
    assert_same(open_checkpoint(tmp_path / "model.safetensors.index.json"))


def test_an_index_may_only_refer_to_files_in_its_directory(tmp_path):
    (tmp_path / "in").mkdir()
    save_file(TENSORS, tmp_path / "out.safetensors")
    shards(tmp_path / "in", {"b": "../out.safetensors"})
    with pytest.raises(ValueError, match=r"index.json: got shard '../out.safetensors', wanted the name of a file in"):
        open_checkpoint(tmp_path / "in")
    shards(tmp_path / "in", {"zz": "model-00001-of-00002.safetensors"})
    with pytest.raises(
        ValueError, match=r"index.json: zz is not in model-00001-of-00002.safetensors; fetch both again"
    ):
        open_checkpoint(tmp_path / "in")
    (tmp_path / "in/model.safetensors.index.json").write_text("{}")
    with pytest.raises(ValueError, match=r"index.json: weight_map is missing or not an object"):
        open_checkpoint(tmp_path / "in")


def test_a_deepspeed_checkpoint_directory(tmp_path):
    (tmp_path / "global_step7").mkdir()
    (tmp_path / "latest").write_text("global_step7")
    torch.save({"module": TENSORS, "optimizer": None}, tmp_path / "global_step7/mp_rank_00_model_states.pt")
    torch.save({"optimizer_state_dict": {}}, tmp_path / "global_step7/zero_pp_rank_0_mp_rank_00_optim_states.pt")
    assert_same(open_checkpoint(tmp_path))
    assert_same(open_checkpoint(tmp_path / "global_step7"))
    (tmp_path / "latest").write_text("../elsewhere")
    with pytest.raises(ValueError, match=r"latest: got '../elsewhere', wanted a name in the same directory"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "zero_pp_rank_0_mp_rank_00_model_states.pt",
            "ZeRO-3 shards every tensor; first combine them with DeepSpeed's zero",
        ),
        ("mp_rank_01_model_states.pt", "split over several model-parallel ranks; save it from a single rank"),
        ("something.txt", "none of model.safetensors.index.json, .*; give the path of the checkpoint file"),
    ],
)
def test_directories_that_cannot_be_opened_are_errors(tmp_path, name, said):
    (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=said):
        open_checkpoint(tmp_path)


def test_other_files_are_rejected(tmp_path):
    (tmp_path / "x.npz").write_text("")
    with pytest.raises(
        ValueError, match=r"x.npz: unknown file type; wanted .safetensors, .pt, .pth, .bin, .ckpt, \*.index"
    ):
        open_checkpoint(tmp_path / "x.npz")
    torch.save({"a": 1}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x\.pt: contains no tensors"):
        open_checkpoint(tmp_path / "x.pt")
    with pytest.raises(FileNotFoundError, match="absent: no such file or directory"):
        open_checkpoint(tmp_path / "absent")


@pytest.mark.parametrize(
    ("tree", "both"),
    [
        ({"a.b": TENSORS["n"], "a": {"b": TENSORS["b"]}}, r"\['a.b'\] and \['a'\]\['b'\]"),
        ({"state_dict": {0: TENSORS["n"], "0": TENSORS["b"]}}, r"\[0\] and \['0'\]"),
        ({"a": [TENSORS["n"]], "a.0": TENSORS["b"]}, r"\['a'\]\[0\] and \['a.0'\]"),
    ],
)
def test_two_tensors_with_the_same_name_are_both_reported(tmp_path, tree, both):
    torch.save(tree, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=rf"x.pt: two tensors are named .*, {both}; rename or remove one of them"):
        open_checkpoint(tmp_path / "x.pt")


def shared_lists(levels: int) -> list:
    """Nested lists that expand to 2 ** levels tensors but take only a few bytes per level in a file."""
    tree = [torch.ones(1)]
    for _ in range(levels):
        tree = [tree, tree]
    return tree


def itself() -> dict:
    tree = {"w": torch.ones(1)}
    tree["model"] = tree["more"] = tree
    return tree


@pytest.mark.parametrize(
    "tree", [shared_lists(40), {"model": shared_lists(40)}, {"x": shared_lists(40), "w": torch.ones(1)}, itself()]
)
def test_lists_that_share_their_elements_are_not_expanded_endlessly(tmp_path, tree):
    torch.save(tree, tmp_path / "x.pt")
    assert (tmp_path / "x.pt").stat().st_size < 4000
    start = time.process_time()
    with pytest.raises(ValueError, match=r"x.pt: more than 100,000 tensors or .* deep; save only the model's st"):
        open_checkpoint(tmp_path / "x.pt")
    assert time.process_time() - start < 100


@pytest.mark.parametrize("key", ["x" * 1001, (1, 2), 1.5])
def test_invalid_tensor_names_are_reported_in_one_line(tmp_path, key):
    torch.save({"a": {key: torch.ones(1)}}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x.pt: keys of a tensor are neither text nor integers, or longer"):
        open_checkpoint(tmp_path / "x.pt")


def test_a_compressed_torch_file_is_rejected(tmp_path):
    torch.save({"w": torch.zeros(1 << 20)}, tmp_path / "stored.pt")
    with zipfile.ZipFile(tmp_path / "stored.pt") as stored, zipfile.ZipFile(tmp_path / "x.pt", "w") as packed:
        for info in stored.infolist():
            packed.writestr(info.filename, stored.read(info), zipfile.ZIP_DEFLATED)
    with pytest.raises(
        ValueError, match=r"x.pt: damaged, or not a torch file \(stored/data.pkl is compressed\); fetch"
    ):
        open_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({"a": "model.safetensors.index.json"}, "got shard 'model.safetensors.index.json', wanted a .safetensors"),
        ({"a": None}, "got shard None, wanted the name of a file in the same directory"),
        ({"a": 3}, "got shard 3, wanted the name of a file in the same directory"),
        ([], "weight_map is missing or not an object"),
        ({"a": "loop.safetensors"}, "loop.safetensors: no such file"),
    ],
)
def test_an_index_without_valid_shards_is_reported_in_one_line(tmp_path, places, said):
    (tmp_path / "loop.safetensors").symlink_to(".")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("content", ["[]", "[" * 100_000, '{"weight_map":' * 100_000, "null"])
def test_an_unreadable_index_is_reported_in_one_line(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match=r"index.json: cannot be read as JSON \(.*\); fetch it again") as caught:
        open_checkpoint(tmp_path)
    assert len(str(caught.value)) < 500
