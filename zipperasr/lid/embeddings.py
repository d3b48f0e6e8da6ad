"""Stage 4: one embedding per language from Whisper's decoder, for the router.

In: the Whisper model, the language table, manifests. Out: exp/lid/lid_{token,state}.{ark,scp} and their cosines.
token: the row of the decoder's token embedding for <|xx|>, the only weight it reads. state: the decoder's hidden state
at that token, averaged over training utterances of the language; it runs all of Whisper, on a GPU if there is one, in
float32 there too: the embeddings are fixed for all later stages, and few utterances are encoded.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import kaldiio
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoTokenizer, WhisperModel

from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.audio.ark import read_vector
from zipperasr.audio.load import load_audio
from zipperasr.audio.log_mel import log_mel
from zipperasr.batching.manifest import open_kind
from zipperasr.cli import log
from zipperasr.config import load_yaml
from zipperasr.datadir.entry import read_table
from zipperasr.languages import LanguageTable
from zipperasr.model.backbone_files import check_backbone, said_by_transformers
from zipperasr.model.backbones import WhisperTokenEmbedding, load_backbone
from zipperasr.model.encoder import SpeechEncoder
from zipperasr.model.model_config import ModelConfig
from zipperasr.model.tensor_values import check_finite
from zipperasr.sole_writer import sole_writer

MODES = ("token", "state")


def language_token_ids(whisper: str, table: LanguageTable) -> list[int]:
    """Id of each language's token. Raises ValueError for a token that this Whisper does not have."""
    check_backbone(whisper, "whisper")
    with said_by_transformers(whisper):
        vocabulary = AutoTokenizer.from_pretrained(whisper, trust_remote_code=False).get_vocab()
    ids = []
    for language in table:
        token_id = vocabulary.get(f"<|{language.whisper_token}|>")
        if token_id is None:
            raise ValueError(
                f"{table.path}: {language.code}: {whisper} has no token <|{language.whisper_token}|>; "
                "name a related language's token as proxy"
            )
        ids.append(token_id)
    return ids


def token_embeddings(whisper: str, ids: list[int]) -> Tensor:
    """Rows of the decoder's token embedding: (languages, d_model). whisper: local directory or hub id."""
    (weight,) = load_backbone(WhisperTokenEmbedding, whisper, torch.float32).parameters()
    return weight[ids].detach()


@torch.no_grad()
def state_embedding(model: WhisperModel, token_id: int, mels: list[Tensor], at_once: int | None = None) -> Tensor:
    """Mean of the decoder's last hidden state at the language token over utterances: (d_model,), on the CPU.

    mels: (frames, mel bins) each, of which the first 30 s count; none is padded. at_once: utterances of one forward
    pass of the encoder; None: 16, on a CPU 1, where more are no faster.
    """
    encoder, device, states = SpeechEncoder(model.encoder).eval(), model.device, []
    prefix = torch.tensor([[model.config.decoder_start_token_id, token_id]], device=device)
    at_once = at_once or (1 if device.type == "cpu" else 16)
    for first in range(0, len(mels), at_once):
        batch = [mel[: encoder.max_mel_frames] for mel in mels[first : first + at_once]]
        hidden, frames = encoder(torch.cat(batch).to(device), [len(mel) for mel in batch])
        for utterance in hidden.split(frames):
            decoded = model.decoder(input_ids=prefix, encoder_hidden_states=utterance[None])
            states.append(decoded.last_hidden_state[0, -1])
    return torch.stack(states).mean(0).float().cpu()


def cosine_matrix(embeddings: Tensor) -> Tensor:
    """(languages, d) -> (languages, languages)."""
    unit = torch.nn.functional.normalize(embeddings.double(), dim=-1)
    return unit @ unit.T


def load_embeddings(directory: str | Path, mode: str, codes: list[str]) -> Tensor:
    """(languages, d_lid) in the order of `codes`. Raises naming stage 4 if they or a language are missing."""
    scp = Path(directory) / f"lid_{mode}.scp"
    if not scp.is_file():
        raise FileNotFoundError(f"{scp}: no LID embeddings; run stage 4")
    entries = read_table(scp)
    absent = [code for code in codes if code not in entries]
    if absent:
        raise ValueError(f"{scp}: no embedding for {', '.join(absent)}; rerun stage 4 with this language table")
    vectors = [torch.tensor(read_vector(entries[code], f"{scp}: {code}")) for code in codes]
    if len({vector.shape for vector in vectors}) > 1:
        raise ValueError(f"{scp}: embeddings of {sorted({len(v) for v in vectors})} numbers; rerun stage 4")
    embeddings = torch.stack(vectors)
    check_finite(embeddings, str(scp))
    return embeddings


def write_embeddings(options: argparse.Namespace) -> None:
    config = load_yaml(ModelConfig, options.model)
    table = LanguageTable.load(options.languages)
    modes = [mode for mode in MODES if mode in options.modes]
    manifests = open_kind(options.manifest, "train") if "state" in modes else []
    inputs = fingerprint(
        whisper=config.whisper,
        weights=Path(config.whisper) / "model.safetensors",
        languages=options.languages,
        manifest=options.manifest / ".inputs.json",
        settings=[options.utterances, options.seed, *(modes if len(modes) == 1 else [])],
    )
    if is_current(options.out, inputs):
        log(f"{options.out} is up to date")
        return
    with sole_writer(options.out):
        _compute(options, config, table, modes, manifests, inputs)


def _compute(
    options: argparse.Namespace, config: ModelConfig, table: LanguageTable, modes: list[str], manifests, inputs: dict
) -> None:
    ids = language_token_ids(config.whisper, table)
    embeddings = {"token": token_embeddings(config.whisper, ids)}
    if "state" in modes:
        embeddings["state"] = _state_embeddings(config, table, ids, embeddings["token"], manifests, options)
    with atomic_path(options.out) as temporary:
        temporary.mkdir()
        for mode in modes:
            _write(temporary, options.out, mode, table.codes, embeddings[mode])
        mark_current(temporary, inputs)
    for mode in modes:
        _report(mode, table.codes, embeddings[mode])


def _state_embeddings(
    config: ModelConfig, table: LanguageTable, ids: list[int], tokens: Tensor, manifests, options: argparse.Namespace
) -> Tensor:
    """(languages, d_model); a language without training data takes its row of `tokens`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_backbone(WhisperModel, config.whisper, torch.float32).to(device).eval()
    states = []
    for language, token_id, token in zip(tqdm(table, desc="LID states"), ids, tokens, strict=True):
        mels = _draw_mels(manifests, language.code, options.utterances, options.seed, config.mel_bins)
        states.append(state_embedding(model, token_id, mels) if mels else token)
        if not mels:
            log(f"{language.code}: no training utterance; its token embedding stands in for its state")
    return torch.stack(states)


def _draw_mels(manifests, code: str, count: int, seed: int, mel_bins: int) -> list[Tensor]:
    rows = [(m, row) for m in manifests for row in (m.languages == code).nonzero()[0].tolist()]
    chosen = random.Random(f"{seed} {code}").sample(rows, min(count, len(rows)))
    return [log_mel(torch.from_numpy(load_audio(m.row(row)["audio"])), mel_bins) for m, row in chosen]


def _write(temporary: Path, out: Path, mode: str, codes: list[str], embeddings: Tensor) -> None:
    """kaldiio's ark and scp; the scp names the place that the directory will have."""
    kaldiio.save_ark(
        str(temporary / f"lid_{mode}.ark"),
        {code: vector.numpy() for code, vector in zip(codes, embeddings, strict=True)},
        scp=str(temporary / f"lid_{mode}.scp"),
    )
    scp = temporary / f"lid_{mode}.scp"
    scp.write_text(scp.read_text(encoding="utf-8").replace(str(temporary), str(out)), encoding="utf-8")
    rows = ["\t".join(["", *codes])]
    for code, cosines in zip(codes, cosine_matrix(embeddings).tolist(), strict=True):
        rows.append("\t".join([code, *(f"{value:.6f}" for value in cosines)]))
    (temporary / f"cosine_{mode}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _report(mode: str, codes: list[str], embeddings: Tensor) -> None:
    """The two cosines that the paper prints (Fig. 7), where both languages are in the table."""
    cosines = cosine_matrix(embeddings)
    for one, other in (("ja", "ko"), ("th", "vi")):
        if one in codes and other in codes:
            value = cosines[codes.index(one), codes.index(other)].item()
            log(f"{mode}: cos({one}, {other}) = {value:.2f} (paper, Whisper large-v3: 0.41)")
