"""Compute language embeddings for the router (stage 4) with the decoder that the encoder was pretrained with.

In: the pretrained model, the language table, manifests. Out: exp/lid/lid_{token,state}.{ark,scp} and their cosines.
token: the decoder's token embedding of the language token; no other weight is read. state: the decoder's hidden state
at that token, averaged over training utterances of the language; the whole model runs in float32, on a GPU if there is
one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from zipperasr.shards import remove_shards
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


@dataclass(frozen=True)
class EmbeddingPlan:
    """A job with its configuration and inputs."""

    job: EmbeddingJob
    config: ModelConfig
    table: LanguageTable
    manifests: Sequence[Manifest]  # of the training sets; empty without states
    inputs: dict[str, str]  # fingerprint

    @classmethod
    def make(cls, job: EmbeddingJob) -> EmbeddingPlan:
        """Read the inputs. Raises FileNotFoundError or ValueError."""
        config = load_yaml(ModelConfig, job.model)
        modes = _sorted(job.modes)
        inputs = fingerprint(
            whisper=config.languages_from,
            weights=Path(config.languages_from) / "model.safetensors",
            languages=job.languages,
            manifest=job.manifest / ".inputs.json",
            settings=[job.utterances, job.seed, *(modes if len(modes) == 1 else [])],
        )
        manifests = open_kind(job.manifest, "train") if "state" in modes else []
        return cls(job, config, LanguageTable.load(job.languages), manifests, inputs)

    @cached_property
    def token_ids(self) -> list[int]:
        """Ids of the languages' tokens, in the order of the table. Raises ValueError if one does not exist."""
        return language_token_ids(self.config.languages_from, self.table)

    def is_current(self) -> bool:
        """Return True if the embeddings are up to date."""
        return is_current(self.job.out, self.inputs)

    def drawn(self) -> dict[str, list[tuple[Manifest, int]]]:
        """The training utterances for the state of each language that has any."""
        job = self.job
        drawn = {code: _draw(self.manifests, code, job.utterances, job.seed) for code in self.table.codes}
        return {code: rows for code, rows in drawn.items() if rows}


def write_embeddings(job: EmbeddingJob) -> None:
    """Compute and write the embeddings, unless they are up to date. Raises FileNotFoundError or ValueError."""
    plan = EmbeddingPlan.make(job)
    if plan.is_current():
        log(f"{job.out} is up to date")
        return
    with sole_writer(job.out):
        write_all(plan, state_embeddings(plan, plan.drawn()))


def state_embeddings(plan: EmbeddingPlan, drawn: Mapping[str, Sequence[tuple[Manifest, int]]]) -> dict[str, Tensor]:
    """State embeddings (d_lid,) of these languages, by code."""
    from zipperasr.model.backbones import find_languages

    token_ids = dict(zip(plan.table.codes, plan.token_ids, strict=True))
    if not drawn:
        return {}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    path = plan.config.languages_from
    source = find_languages(path).load(path, torch.float32).to(device)
    states = {}
    for code, rows in tqdm(drawn.items(), desc="LID states"):
        mels = [
            log_mel(torch.from_numpy(load_clip(manifest.row(row)["audio"])), source.mel_bins) for manifest, row in rows
        ]
        states[code] = source.state_embedding(token_ids[code], mels)
    return states


def write_all(plan: EmbeddingPlan, states: Mapping[str, Tensor]) -> None:
    """Write the embeddings of all modes; a language without a state gets its token embedding instead."""
    from zipperasr.model.backbones import find_languages

    job, path, codes = plan.job, plan.config.languages_from, plan.table.codes
    tokens = find_languages(path).token_embeddings(path, plan.token_ids)
    embeddings = {"token": tokens}
    if plan.manifests:
        for code in codes:
            if code not in states:
                log(f"{code}: no training utterances; using its token embedding instead of a state")
        rows = zip(codes, tokens, strict=True)
        embeddings["state"] = torch.stack([states[code].to(token) if code in states else token for code, token in rows])
    modes = _sorted(job.modes)
    with atomic_path(job.out) as temporary:
        temporary.mkdir()
        for mode in modes:
            _write(temporary, job.out, mode, codes, embeddings[mode])
        mark_current(temporary, plan.inputs)
    remove_shards(job.out)  # merged now, or of an interrupted run
    for mode in modes:
        _report(mode, codes, embeddings[mode])


def _sorted(modes: Sequence[str]) -> list[str]:
    return [mode for mode in MODES if mode in modes]


def _draw(manifests: Sequence[Manifest], code: str, count: int, seed: int) -> list[tuple[Manifest, int]]:
    rows = [(m, row) for m in manifests for row in (m.languages == code).nonzero()[0].tolist()]
    return random.Random(f"{seed} {code}").sample(rows, min(count, len(rows)))


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
