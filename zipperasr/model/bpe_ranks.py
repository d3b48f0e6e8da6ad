"""Read BPE vocabularies in tiktoken's format from Python packages, and convert them to the format of tokenizer.json.

tools/install_vocabularies.sh installs the packages. Their files are read; their code is never imported.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise
from pathlib import Path

from transformers.convert_slow_tokenizer import bytes_to_unicode

INSTALL = "install it with tools/install_vocabularies.sh"


@dataclass(frozen=True)
class RanksFile:
    """A file of BPE ranks in tiktoken's format; a line is the base64 of the token's bytes, a space and the rank."""

    package: str
    path: str  # inside the package
    sha256: str


WHISPER_RANKS = RanksFile(
    "openai-whisper",
    "whisper/assets/multilingual.tiktoken",
    "b34b360dbb493e781e479794586d661700670d65564001f23024971d1f2fa126",
)
QWEN_RANKS = RanksFile(
    "dashscope",
    "dashscope/resources/qwen.tiktoken",
    "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186",
)


def ranks_path(ranks: RanksFile) -> Path:
    """Path of the file in the installed package. Raises FileNotFoundError if package or file is missing."""
    try:
        path = Path(distribution(ranks.package).locate_file(ranks.path))
    except PackageNotFoundError:
        raise FileNotFoundError(f"package {ranks.package} is not installed; {INSTALL}") from None
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing from the installed {ranks.package}; {INSTALL}")
    return path


def read_ranks(ranks: RanksFile) -> dict[bytes, int]:
    """{token: rank}, in the order of ranks. Raises FileNotFoundError, or ValueError if the file has another content."""
    path = ranks_path(ranks)
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != ranks.sha256:
        raise ValueError(f"{path}: got SHA-256 {found}, wanted {ranks.sha256}; {INSTALL}")
    pairs = (line.split() for line in content.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def last_merge(token: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """The two parts that BPE joins last to form `token`, which has at least two bytes."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        first = pairs.index(min(pairs))
        parts[first : first + 2] = [parts[first] + parts[first + 1]]
    return parts


def bpe_model(ranks: Mapping[bytes, int], merge: Callable[[list[str]], str | list[str]], **settings: bool) -> dict:
    """The `model` entry of tokenizer.json. merge: formats the two parts of a merge."""
    letters = bytes_to_unicode()

    def text(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        **settings,
        "vocab": {text(token): rank for token, rank in ranks.items()},
        "merges": [merge([text(part) for part in last_merge(token, ranks)]) for token in ranks if len(token) > 1],
    }
