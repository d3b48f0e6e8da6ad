"""Mutations of files: lost bytes, repeated lines, cells of another type, other encodings, unusual sizes.

Input: the bytes of a valid file. Output: a Hypothesis strategy of mutated text files or, for long runs, one mutated
file per state of a random generator: text, JSON or YAML with unusual values, or binary data with changed bytes.
"""

from __future__ import annotations

import json
import re
from random import Random

import yaml
from hypothesis import strategies as st

SPACES = ("\t", " ", "  ", "\n", "\r", "\r\n", "\x00", "\ufeff", "\u3000", "\u2028", "\x85")
SIGNS = r"""{ } [ ] " : , / .. ../../etc/passwd {} [] [[]] "x" {x} {0} %s \ \ud800 | # --- &a *a !!x PKL"""
NUMBERS = "null true -1 0 1.5 1e999 nan NaN Infinity -Infinity"
PIECES = (*SPACES, *SIGNS.split(), *NUMBERS.split(), "é", "ก", "한", "𝔘", "\x1b[2J")
ODD_VALUES = (
    *(None, True, False, 0, -1, 1, 2, 10**6, 10**9, 2**31, 2**63, 10**400, 0.5, -0.5, 1e-300, 1e300),
    *(float("nan"), float("inf"), "", "x", "1", "nan", "../../etc/passwd", "/etc/passwd", "touch x |", "x" * 100_000),
    *([], {}, [[]], [None], {"": None}, [0] * 1000, "\x00", "\ud800", "LORA", "auto_map", "custom.py"),
)
NESTED, DEPTHS = "nested lists", (20, 300, 5000, 100_000)
WIDTHS = (1, 2, 4, 8)  # sizes of numbers in binary files, in bytes
ODD_NUMBERS = (0, 1, 2, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)
KINDS = ("insert", "replace a word", "cut off", "lose", "double a line", "raw bytes", "encode")
CODECS = ("utf-16", "cp1252", "utf-8-sig")


def mutated(good: bytes) -> st.SearchStrategy[bytes]:
    """`good` after one to four mutations."""
    pieces = st.sampled_from([piece.encode() for piece in PIECES])
    mishap = st.one_of(
        st.tuples(st.just("insert"), st.floats(0, 1), pieces),
        st.tuples(st.just("replace a word"), st.floats(0, 1), pieces),
        st.tuples(st.just("cut off"), st.floats(0, 1), st.just(b"")),
        st.tuples(st.just("lose"), st.floats(0, 1), st.just(b"")),
        st.tuples(st.just("double a line"), st.floats(0, 1), st.just(b"")),
        st.tuples(st.just("raw bytes"), st.floats(0, 1), st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("encode"), st.just(0.0), st.sampled_from([codec.encode() for codec in CODECS])),
    )
    return st.lists(mishap, min_size=1, max_size=4).map(lambda mishaps: _apply(good, mishaps))


def mutate_text(good: bytes, random: Random) -> bytes:
    return _apply(good, [_mishap(random) for _ in range(random.randint(1, 4))])


def mutate_tree(good: bytes, random: Random) -> bytes:
    """JSON or YAML with unusual, missing, repeated or deeply nested values; one in four is mutated as text."""
    if random.random() < 0.25:
        return mutate_text(good, random)
    is_json = good.lstrip().startswith((b"{", b"["))
    tree = json.loads(good) if is_json else yaml.safe_load(good)
    for _ in range(random.randint(1, 3)):
        tree = _with_odd_value(tree, random)
    text = json.dumps(tree) if is_json else yaml.safe_dump(tree)
    depth = random.choice(DEPTHS)
    text = text.replace(f'"{NESTED}"', NESTED).replace(NESTED, "[" * depth + "]" * depth)
    return text.encode("utf-8", errors="surrogatepass")


def mutate_binary(good: bytes, random: Random) -> bytes:
    """Change bytes and numbers, mostly near the beginning, where headers are."""
    content = bytearray(good)
    for _ in range(random.randint(1, 4)):
        kind = random.randrange(6)
        at = int(len(content) * random.random() ** random.choice((1, 4)))
        if kind == 0:
            content[at : at + 1] = bytes([random.randrange(256)])
        elif kind in (1, 2):
            width = random.choice(WIDTHS)
            number = random.choice(ODD_NUMBERS) % 256**width
            content[at : at + width] = number.to_bytes(width, random.choice(("little", "big")))
        elif kind == 3:
            del content[at:]
        elif kind == 4:
            del content[at : at + random.choice((1, 2, 7, 64))]
        else:
            content[at:at] = random.randbytes(random.choice((1, 4, 16)))
    return bytes(content)


def _mishap(random: Random) -> tuple[str, float, bytes]:
    kind = random.choice(KINDS)
    piece = random.choice(PIECES).encode()
    if kind == "raw bytes":
        piece = random.randbytes(random.randint(1, 4))
    elif kind == "encode":
        piece = random.choice(CODECS).encode()
    return kind, random.random(), piece


def _apply(content: bytes, mishaps: list[tuple[str, float, bytes]]) -> bytes:
    for kind, where, piece in mishaps:
        at = int(where * len(content))
        if kind in ("insert", "raw bytes"):
            content = content[:at] + piece + content[at:]
        elif kind == "replace a word":
            words = list(re.finditer(rb"[^\s\t:,\[\]{}]+", content))
            if words:
                word = words[min(int(where * len(words)), len(words) - 1)]
                content = content[: word.start()] + piece + content[word.end() :]
        elif kind == "cut off":
            content = content[:at]
        elif kind == "lose":
            content = content[:at] + content[at + 7 :]
        elif kind == "double a line":
            lines = content.splitlines(keepends=True)
            place = min(int(where * len(lines)), len(lines) - 1) if lines else 0
            content = b"".join([*lines[: place + 1], *lines[place:]])
        elif kind == "encode":
            content = content.decode("utf-8", errors="replace").encode(piece.decode(), errors="replace")
    return content


def _with_odd_value(tree: object, random: Random) -> object:
    """`tree` with one value replaced, removed, wrapped or moved to another key."""
    if isinstance(tree, dict | list) and tree and random.random() < 0.8:
        key = random.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
        tree = tree.copy()
        kind = random.randrange(10)
        if kind == 0:
            del tree[key]
        elif kind == 1 and isinstance(tree, dict):
            tree[random.choice(("base", "auto_map", "trust_remote_code", "x"))] = tree.pop(key)
        else:
            tree[key] = _with_odd_value(tree[key], random)
        return tree
    return NESTED if random.random() < 0.03 else random.choice(ODD_VALUES)
