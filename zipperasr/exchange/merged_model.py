"""Write the model of one language without adapters, as encoder, projector and LLM.

In: an adapted model and a language, or a model without encoder LoRA. Out: DIR/encoder and DIR/llm for transformers,
DIR/projector.safetensors, and DIR/zipperasr.json, which describes how to combine them. The encoder is specific to the
language.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from zipperasr.audio.frontend import KALDI, LOG_MEL
from zipperasr.audio.segments import PROJECTOR_STRIDE
from zipperasr.exchange.licences import public_name
from zipperasr.exchange.plain_lora import encoder_state
from zipperasr.exchange.pretrained import Pretrained
from zipperasr.model.backbone_files import read_json
from zipperasr.model.backbones import find_encoder, find_llm
from zipperasr.model.backbones.speech_encoder import SpeechEncoder
from zipperasr.model.packed_llm import use_ragged_attention
from zipperasr.model.projector import GatedProjector
from zipperasr.model.prompt import end_token
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.model.weights_file import load_weights

CONFIG, PROJECTOR, ENCODER, LLM = "zipperasr.json", "projector.safetensors", "encoder", "llm"
PROJECTOR_FORMULA = (
    "h = silu(gate(x)) * up(x), gate and up: Conv1d of kernel and stride 4 over encoder frames, zeros at the end; "
    "h = norm(h + linear(h)); out(h)"
)

FEATURES = {
    LOG_MEL: "log-mel of the utterance alone, 100 frames a second",
    KALDI: "log filter banks as of Kaldi, each bin with mean 0 and variance 1 in the utterance, 100 frames a second",
}
PADDED = (
    "log-mel of the utterance with zeros appended, 100 frames a second; each chunk is padded with the log-mel of "
    "silence to 30 s, and the encoder's output cut to the chunk"
)


def write_merged(opened: Pretrained, code: str | None, directory: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write encoder, projector, LLM and configuration. The LLM of `opened` is merged in place.

    code: the language; None only for a model without encoder LoRA. Raises ValueError if the model does not have the
    language, or if its variant cannot be merged.
    """
    model, config = opened.model, opened.experiment.model
    encoder = model.encoder.whole_model(config.whisper, encoder_state(model, code))
    directory.mkdir(parents=True)
    save_encoder(model.encoder, encoder, directory / ENCODER, dtype)
    named = model.projector.of(code).state_dict().items()
    projector = {name: tensor.to(dtype).contiguous() for name, tensor in named if not name.startswith("own.")}
    save_file(projector, directory / PROJECTOR, metadata={"format": "pt"})
    model.llm.merge_and_unload().to(dtype).save_pretrained(directory / LLM)
    opened.tokenizer.save_pretrained(directory / LLM)
    (directory / CONFIG).write_text(json.dumps(_how_to_use(opened, code), indent=1, ensure_ascii=False) + "\n", "utf-8")


def save_encoder(encoder: SpeechEncoder, whole: PreTrainedModel, directory: Path, dtype: torch.dtype) -> None:
    """Save weights, configuration and the feature extractor of `encoder.whole_model(...)`."""
    whole.to(dtype).save_pretrained(directory)
    encoder.feature_extractor(encoder.mel_bins).save_pretrained(directory)


def load_merged(directory: str | Path, dtype: torch.dtype = torch.float32) -> SpeechLLM:
    """Load a model written by `write_merged`, in evaluation mode. Raises FileNotFoundError or ValueError."""
    directory = Path(directory)
    if not (directory / CONFIG).is_file():
        raise FileNotFoundError(f"{directory / CONFIG}: missing; wanted the output of zipperasr export --format merged")
    settings = read_json(directory / CONFIG)
    encoder_path, llm_path = str(directory / ENCODER), str(directory / LLM)
    encoder = find_encoder(encoder_path)[0].load(encoder_path, dtype)
    encoder.pad_to_30s = settings.get("pad_to_30s", False)
    llm = find_llm(llm_path)[0].load(llm_path, dtype)
    use_ragged_attention(llm)
    weights = load_weights(directory / PROJECTOR)
    projector = GatedProjector(encoder.width, len(weights["gate.weight"]), llm.config.hidden_size).to(dtype)
    try:
        projector.load_state_dict(weights, strict=True)
    except RuntimeError as error:  # its message names the tensors that do not fit
        raise ValueError(f"{directory / PROJECTOR}: does not fit the encoder and the LLM: {error}") from error
    return SpeechLLM(encoder, projector, llm).requires_grad_(False).eval()


def _how_to_use(opened: Pretrained, code: str | None) -> dict:
    """Content of zipperasr.json: settings for programs; `sequence`, `features` and `projector` for their authors."""
    experiment = opened.experiment
    prompts = {language.code: language.prompt for language in opened.languages if code in (None, language.code)}
    return {
        "form": "zipperasr merged 1",
        "language": code,
        "prompts": prompts,
        "end_token": end_token(opened.tokenizer),
        "sequence": "prompt tokens, projected speech, transcript tokens, end token; no chat template",
        "features": PADDED if experiment.model.pad_to_30s else FEATURES[opened.model.encoder.feature_kind],
        "mel_bins": experiment.model.mel_bins,
        "pad_to_30s": experiment.model.pad_to_30s,
        "regime": experiment.regime,
        "chunk_s": experiment.model.decode_chunk_s if experiment.regime == "chunked" else None,
        "encoder": f"{ENCODER}: its layers over each chunk alone, or each window of 30 s; positions from 0; no decoder",
        "projector": PROJECTOR_FORMULA,
        "projector_stride": PROJECTOR_STRIDE,
        "trained_from": {
            "lora": experiment.lora,
            "whisper": public_name(experiment.model.whisper),
            "llm": public_name(experiment.model.llm),
        },
    }
