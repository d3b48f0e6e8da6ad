"""The page around its data: assets/page.html with style and script inlined.

In: the files of assets/. Out: the page's start and end; data blocks go between. The page may load nothing and run
nothing but this script: its Content-Security-Policy names script and style by their SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from string import Template
from typing import TextIO

SCRIPTS = ("dom", "blocks", "utterances", "scores", "alignment", "confusions", "table", "main")  # in this order
_BLOCKS = "<!-- blocks -->\n"


def write_start(stream: TextIO) -> None:
    """Everything before the data."""
    stream.write(_page("").partition(_BLOCKS)[0])


def write_end(stream: TextIO, index: str) -> None:
    """Everything behind the data. index: JSON without `<`."""
    stream.write(_page(index).partition(_BLOCKS)[2])


def _page(index: str) -> str:
    style = _asset("style.css")
    script = '"use strict";\n' + "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; "
        f"script-src {_hash(script)}; style-src {_hash(style)}; media-src 'self' file:; img-src data:"
    )
    return Template(_asset("page.html")).substitute(policy=policy, style=style, index=index, script=script)


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
