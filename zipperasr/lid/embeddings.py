"""Compute language embeddings for the router (stage 4) with the decoder that the encoder was pretrained with.

In: the pretrained model, the language table, manifests. Out: exp/lid/lid_{token,state}.{ark,scp} and their cosines.
token: the decoder's token embedding of the language token; no other weight is read. state: the decoder's hidden state
at that token, averaged over training utterances of the language; the whole model runs in float32, on a GPU if there is
one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import kaldiio
import torch
from torch import Tensor
from tqdm import tqdm

from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.audio.clips import load_clip
from zipperasr.audio.log_mel import log_mel
from zipperasr.batching.manifest import Manifest, open_kind
from zipperasr.cli import log
from zipperasr.config import load_yaml
from zipperasr.languages import LanguageTable
from zipperasr.lid.stored_embeddings import MODES
from zipperasr.model.model_config import ModelConfig
from zipperasr.sole_writer import sole_writer


@dataclass(frozen=True)
class EmbeddingJob:
    """One run of stage 4."""

    model: Path  # model.yaml
    languages: Path  # language table
    manifest: Path  # directory of stage 3
    out: Path
    modes: tuple[str, ...] = MODES
    utterances: int = 20  # state: training utterances per language
    seed: int = 1  # state: random seed for drawing them


def language_token_ids(encoder: str, table: LanguageTable) -> list[int]:
    """Id of each language's token. encoder: local directory or hub id. Raises ValueError if a token does not exist."""
    from zipperasr.model.backbones import find_languages

    ids = find_languages(encoder).token_ids(encoder, [language.whisper_token for language in table])
    for language, token_id in zip(table, ids, strict=True):
        if token_id is None:
            raise ValueError(
                f"{table.path}: {language.code}: {encoder} has no token <|{language.whisper_token}|>; "
                "use the token of a related language instead"
            )
    return ids


def cosine_matrix(embeddings: Tensor) -> Tensor:
    """Cosine similarities of all pairs: (languages, d) -> (languages, languages)."""
    unit = torch.nn.functional.normalize(embeddings.double(), dim=-1)
    return unit @ unit.T


def write_embeddings(job: EmbeddingJob) -> None:
    """Compute and write the embeddings, unless they are up to date. Raises FileNotFoundError or ValueError."""
    config = load_yaml(ModelConfig, job.model)
    table = LanguageTable.load(job.languages)
    modes = [mode for mode in MODES if mode in job.modes]
    manifests = open_kind(job.manifest, "train") if "state" in modes else []
    inputs = fingerprint(
        whisper=config.whisper,
        weights=Path(config.whisper) / "model.safetensors",
        languages=job.languages,
        manifest=job.manifest / ".inputs.json",
        settings=[job.utterances, job.seed, *(modes if len(modes) == 1 else [])],
    )
    if is_current(job.out, inputs):
        log(f"{job.out} is up to date")
        return
    from zipperasr.model.backbones import find_languages

    with sole_writer(job.out):
        ids = language_token_ids(config.whisper, table)
        embeddings = {"token": find_languages(config.whisper).token_embeddings(config.whisper, ids)}
        if "state" in modes:
            embeddings["state"] = _state_embeddings(job, config, table, ids, embeddings["token"], manifests)
        with atomic_path(job.out) as temporary:
            temporary.mkdir()
            for mode in modes:
                _write(temporary, job.out, mode, table.codes, embeddings[mode])
            mark_current(temporary, inputs)
        for mode in modes:
            _report(mode, table.codes, embeddings[mode])


def _state_embeddings(
    job: EmbeddingJob,
    config: ModelConfig,
    table: LanguageTable,
    ids: Sequence[int],
    tokens: Tensor,
    manifests: Sequence[Manifest],
) -> Tensor:
    """Embeddings (languages, d_lid); a language without training data gets its row of `tokens`."""
    from zipperasr.model.backbones import find_languages

    device = "cuda" if torch.cuda.is_available() else "cpu"
    source = find_languages(config.whisper).load(config.whisper, torch.float32).to(device)
    states = []
    for language, token_id, token in zip(tqdm(table, desc="LID states"), ids, tokens, strict=True):
        mels = _draw_mels(manifests, language.code, job.utterances, job.seed, config.mel_bins)
        states.append(source.state_embedding(token_id, mels) if mels else token)
        if not mels:
            log(f"{language.code}: no training utterances; using its token embedding instead of a state")
    return torch.stack(states)


def _draw_mels(manifests: Sequence[Manifest], code: str, count: int, seed: int, mel_bins: int) -> list[Tensor]:
    rows = [(m, row) for m in manifests for row in (m.languages == code).nonzero()[0].tolist()]
    chosen = random.Random(f"{seed} {code}").sample(rows, min(count, len(rows)))
    return [log_mel(torch.from_numpy(load_clip(m.row(row)["audio"])), mel_bins) for m, row in chosen]


def _write(temporary: Path, out: Path, mode: str, codes: list[str], embeddings: Tensor) -> None:
    """Write ark, scp and cosines to `temporary`; the scp contains paths in `out`."""
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
    """Log the two cosines that the paper reports (Fig. 7), if both languages are in the table."""
    cosines = cosine_matrix(embeddings)
    for one, other in (("ja", "ko"), ("th", "vi")):
        if one in codes and other in codes:
            value = cosines[codes.index(one), codes.index(other)].item()
            log(f"{mode}: cos({one}, {other}) = {value:.2f} (paper, Whisper large-v3: 0.41)")
