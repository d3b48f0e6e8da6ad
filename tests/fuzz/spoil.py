"""Ways in which a text file goes wrong: bytes lost, lines doubled, cells of another kind, other encodings.

In: the bytes of a good file. Out: a Hypothesis strategy of spoiled ones.
"""

from __future__ import annotations

import re

from hypothesis import strategies as st

PIECES = (
    *("\t", " ", "  ", "\n", "\r", "\r\n", "\x00", "\ufeff", "\u3000", "\u2028", "\x85", "/", "..", "../../etc/passwd"),
    *(
        "{",
        "}",
        "[",
        "]",
        '"',
        ":",
        ",",
        "null",
        "true",
        "{}",
        "[]",
        "[[]]",
        '"x"',
        "{x}",
        "{0}",
        "%s",
        "\\",
        "\\ud800",
    ),
    *(
        "-1",
        "0",
        "1e999",
        "nan",
        "Infinity",
        "-Infinity",
        "NaN",
        "1.5",
        "é",
        "ก",
        "한",
        "𝔘",
        "#",
        "---",
        "&a",
        "*a",
        "!!x",
    ),
)


def spoiled(good: bytes) -> st.SearchStrategy[bytes]:
    """`good` after one to four mishaps."""
    mishap = st.one_of(
        st.tuples(st.just("insert"), st.floats(0, 1), st.sampled_from([piece.encode() for piece in PIECES])),
        st.tuples(st.just("replace a word"), st.floats(0, 1), st.sampled_from([piece.encode() for piece in PIECES])),
        st.tuples(st.just("cut off"), st.floats(0, 1), st.just(b"")),
        st.tuples(st.just("lose"), st.floats(0, 1), st.just(b"")),
        st.tuples(st.just("double a line"), st.floats(0, 1), st.just(b"")),
        st.tuples(st.just("raw bytes"), st.floats(0, 1), st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("encode"), st.just(0.0), st.sampled_from([b"utf-16", b"cp1252", b"utf-8-sig"])),
    )
    return st.lists(mishap, min_size=1, max_size=4).map(lambda mishaps: _apply(good, mishaps))


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
