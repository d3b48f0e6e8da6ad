"""Decoding on the simulated GPU: the same hypotheses as on the CPU, and one wait per token."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.model import tiny, tiny_llms
from zipperasr.batching.batch import Example
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.decode.encoder_means import encoder_means
from zipperasr.decode.hooks import Hooks
from zipperasr.lora import VARIANTS
from zipperasr.model.backbones import load_tokenizer, merged_decoder, step_graphs
from zipperasr.model.backbones.merged_decoder import MergedDecoder

CHUNK_FRAMES = 40
GREEDY = DecodeConfig(tokens_per_s=8.0, tokens_floor=4, batch_size=4)
MIXTURE = {"de": 0.6, "ja": 0.3, "es": 0.1}


@pytest.fixture(scope="module")
def utterances() -> list[Example]:
    lengths = [3200 + number * 7919 % 23_000 for number in range(7)]
    made = [tiny.example(f"u{n}", tiny.CODES[n % 3], length, "", seed=n) for n, length in enumerate(lengths)]
    return [dataclasses.replace(one, transcript=()) for one in made]


def new_model(backbones, variant: str, dtype=torch.float32):
    config = tiny.model_config(backbones)
    model = tiny.align_model(config) if variant == "align" else tiny.sft_model(config, variant)
    return model.to(dtype)


def texts(model, utterances, config=GREEDY, mixture=None) -> dict[str, str]:
    """One batch in a single language, one in several."""
    decoder = Decoder(model, tiny.llm_tokenizer(), config, CHUNK_FRAMES)
    hooks = Hooks(mixture=lambda _: mixture)
    return {decoded.example.utt_id: decoded.text for decoded in decoder.run([utterances[:1], utterances[1:]], hooks)}


@pytest.fixture
def steps(monkeypatch) -> list[int]:
    """Record the number of rows in each decoding step."""
    rows, choose = [], MergedDecoder.logits

    def counted(llm, hidden):
        rows.append(len(hidden))
        return choose(llm, hidden)

    monkeypatch.setattr(MergedDecoder, "logits", counted)
    return rows


def search_waits(gpu) -> list:
    """Waits except those of the encoder's thread, which waits for its own stream before it passes an utterance on."""
    return [wait for wait in gpu.waits if wait.what != "Stream.synchronize"]


@pytest.mark.parametrize(
    ("variant", "mixture"),
    [("align", None), *((variant, mixture) for variant in sorted(VARIANTS) for mixture in (None, MIXTURE))],
)
def test_hypotheses_in_float32_equal_the_cpus_and_each_step_waits_once(
    gpu, backbones, utterances, steps, variant, mixture
):
    """The host needs the tokens to decide which utterances have ended and to print them."""
    wanted = texts(new_model(backbones, variant), utterances, mixture=mixture)
    assert len(set(wanted.values())) > 3  # otherwise the comparison would prove little
    model = new_model(backbones, variant).to("cuda")
    steps.clear()
    gpu.waits.clear()
    assert texts(model, utterances, mixture=mixture) == wanted
    assert [wait.place.split()[-1] for wait in search_waits(gpu)] == ["_choose"] * len(steps)


@pytest.mark.parametrize("variant", ["align", *sorted(VARIANTS)])
def test_every_variant_is_decoded_in_bfloat16(gpu, backbones, utterances, steps, variant):
    model = new_model(backbones, variant, torch.bfloat16).to("cuda")
    for mixture in (None, MIXTURE)[: 1 if variant == "align" else 2]:
        steps.clear()
        gpu.waits.clear()
        found = texts(model, utterances, mixture=mixture)
        assert found.keys() == {one.utt_id for one in utterances} and any(found.values())
        assert len(search_waits(gpu)) == len(steps)


@pytest.fixture
def small_cache(monkeypatch) -> None:
    """The cache grows, and graphs are recorded, every few tokens."""
    monkeypatch.setattr(merged_decoder, "CACHE_BLOCK", 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuda_graphs_give_the_same_hypotheses_without_further_waits(
    gpu, backbones, utterances, steps, small_cache, dtype
):
    """Rows end and start at different times, and the second run replaces the cache of the first."""
    model = new_model(backbones, "zipper_soft", dtype).to("cuda")
    wanted = texts(model, utterances)
    decoder = Decoder(model, tiny.llm_tokenizer(), dataclasses.replace(GREEDY, cuda_graphs=True), CHUNK_FRAMES)
    for some in (utterances[:1], utterances, utterances[1:2]):
        steps.clear()
        gpu.waits.clear()
        found = {decoded.example.utt_id: decoded.text for decoded in decoder.run([some])}
        assert found == {one.utt_id: wanted[one.utt_id] for one in some} and any(found.values())
        assert [wait.place.split()[-1] for wait in search_waits(gpu)] == ["_choose"] * len(steps)
    replays = [graph.replays for graph in gpu.recorder.graphs]
    assert sum(replays) > 2 * len(replays) > 6


@torch.inference_mode()
def test_the_hidden_states_of_a_step_outlive_the_next_replay(gpu, backbones):
    model = new_model(backbones, "align").to("cuda")
    llm = merged_decoder.MergedDecoder(model.causal_lm, model.llm_family, cuda_graphs=True)
    llm.add(llm.embed(torch.arange(9).to("cuda")), [4, 5], capacity=12)
    first = llm.step(torch.tensor([3, 4]).to("cuda"))
    before = first.cpu()
    second = llm.step(torch.tensor([5, 6]).to("cuda"))
    assert len(gpu.recorder.graphs) == 1 and not torch.equal(second.cpu(), before)
    assert torch.equal(first.cpu(), before)


def test_no_rotary_table_of_a_recorded_graph_is_replaced(gpu, backbones, utterances, small_cache, monkeypatch):
    """On a real GPU its memory would be used again for something else; the simulation keeps it."""
    tables: dict[int, list] = {}
    replay = step_graphs.StepGraphs.__call__

    def checked(graphs, *args):
        result, llm = replay(graphs, *args), graphs._step.__self__
        for recording in graphs._recordings.values():
            before = tables.setdefault(id(recording._graph), list(llm._rotary.values()))
            assert all(now is then for now, then in zip(llm._rotary.values(), before, strict=True))
        return result

    monkeypatch.setattr(step_graphs.StepGraphs, "__call__", checked)
    texts(new_model(backbones, "zipper_soft").to("cuda"), utterances, dataclasses.replace(GREEDY, cuda_graphs=True))
    assert len(tables) > 3


def test_cuda_graphs_with_layers_that_attend_to_a_window(gpu, backbones, utterances, small_cache, tmp_path):
    tiny_llms.write_llm("gemma3_text", tmp_path / "llm")
    config = tiny.model_config(backbones, llm=str(tmp_path / "llm"))
    model, tokenizer = tiny.align_model(config).to("cuda"), load_tokenizer(config.llm)
    plain, replayed = (
        Decoder(model, tokenizer, dataclasses.replace(GREEDY, cuda_graphs=on), CHUNK_FRAMES) for on in (False, True)
    )
    assert any(layer.window is not None for layer in plain._llm._layers)
    wanted = {decoded.example.utt_id: decoded.text for decoded in plain.run([utterances])}
    assert {decoded.example.utt_id: decoded.text for decoded in replayed.run([utterances])} == wanted
    assert len(set(wanted.values())) > 3 and gpu.recorder.graphs


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_an_utterance_that_is_not_a_number_changes_no_other(gpu, backbones, utterances, small_cache, cuda_graphs):
    model = new_model(backbones, "zipper_soft").to("cuda")
    wanted = texts(model, utterances)
    bad = [
        dataclasses.replace(one, utt_id=f"bad {n}", mel=torch.full_like(one.mel, torch.nan))
        for n, one in enumerate(sorted(utterances, key=lambda one: one.num_samples)[-3:])
    ]
    mixed = [utterances[0], bad[0], *utterances[1:4], *bad[1:], *utterances[4:]]
    found = texts(model, mixed, dataclasses.replace(GREEDY, cuda_graphs=cuda_graphs))
    assert found == {**wanted, **{one.utt_id: "" for one in bad}}


def test_cuda_graphs_need_a_gpu(backbones, utterances):
    with pytest.raises(ValueError, match=r"cuda_graphs: got an LLM on cpu, wanted it on a GPU; set cuda_graphs=false"):
        texts(new_model(backbones, "align"), utterances, dataclasses.replace(GREEDY, cuda_graphs=True))


def test_features_computed_on_the_device_give_the_same_hypotheses(gpu, backbones, utterances):
    wanted = texts(new_model(backbones, "zipper_soft"), utterances)
    model = new_model(backbones, "zipper_soft").to("cuda")
    audio = [
        dataclasses.replace(one, mel=None, audio=tiny.noise(one.num_samples, number))
        for number, one in enumerate(utterances)
    ]
    assert texts(model, audio) == wanted


@pytest.mark.parametrize("nbest", [1, 2])
def test_hypotheses_of_beam_search_equal_the_cpus(gpu, backbones, utterances, nbest):
    """It uses transformers' generate, whose waits are not counted here."""
    config = dataclasses.replace(GREEDY, beam=2, nbest=nbest)
    wanted = texts(new_model(backbones, "zipper_soft"), utterances, config)
    assert texts(new_model(backbones, "zipper_soft").to("cuda"), utterances, config) == wanted


def test_decoding_again_without_repetition_waits_once_per_step(gpu, backbones, utterances, steps):
    config = dataclasses.replace(GREEDY, tokens_per_s=14.0, retry_loops=True)
    wanted = texts(new_model(backbones, "zipper_soft"), utterances, config)
    plain = texts(new_model(backbones, "zipper_soft"), utterances, dataclasses.replace(config, retry_loops=False))
    assert wanted != plain  # some utterance has a loop
    model = new_model(backbones, "zipper_soft").to("cuda")
    steps.clear()
    gpu.waits.clear()
    assert texts(model, utterances, config) == wanted
    assert len(search_waits(gpu)) == len(steps)


def test_the_encoders_stream_is_on_the_models_device(gpu, backbones, utterances):
    """A stream on the current device would be on cuda:0 even if the model is not."""
    model = new_model(backbones, "zipper_soft").to("cuda")
    texts(model, utterances[:2])
    assert [stream.device for stream in gpu.streams] == [model.causal_lm.device]


def test_embeddings_for_the_figure_are_copied_once_per_batch(gpu, backbones, utterances):
    model = new_model(backbones, "zipper_soft")
    with encoder_means(model) as wanted:
        texts(model, utterances)
    model = new_model(backbones, "zipper_soft").to("cuda")
    gpu.waits.clear()
    with encoder_means(model) as means:
        texts(model, utterances)
    assert len(means) == len(utterances)
    for mean, want in zip(means, wanted, strict=True):
        assert abs(mean - want).max() < 1e-5
    assert sum("encoder_means.py" in wait.place for wait in gpu.waits) == 2
