"""HTML around the data: assets/page.html with style and script inlined, and the head that the demo's page shares.

In: the files of assets/. Out: start and end of report.html, between which the data blocks go. The page can load nothing
and run nothing but this script: its Content-Security-Policy names script and style by their SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from string import Template
from typing import TextIO

SCRIPTS = (
    "dom",
    "blocks",
    "utterances",
    "scores",
    "words",
    "alignment",
    "confusions",
    "table",
    "main",
)  # in this order
_BLOCKS = "<!-- blocks -->\n"


def page_head(title: str, *, main: tuple[str, str], style: str, policy: str = "") -> str:
    """Everything before <main>: head, skip link, heading and theme button.

    Args:
        main: id of the main section, and its name in the skip link.
        style: <link> or <style> elements.
        policy: <meta> element of the Content-Security-Policy; "" if an HTTP header has it.
    """
    values = {"title": title, "main": main[0], "main_name": main[1], "style": style}
    values["policy"] = policy and f"\n{policy}"
    return Template(_asset("head.html")).substitute(values).strip()


def write_start(stream: TextIO) -> None:
    """Write everything before the data."""
    stream.write(_page("").partition(_BLOCKS)[0])


def write_end(stream: TextIO, index: str) -> None:
    """Write everything after the data. index: JSON without `<`."""
    stream.write(_page(index).partition(_BLOCKS)[2])


def _page(index: str) -> str:
    style = _asset("style.css")
    script = '"use strict";\n' + "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; "
        f"script-src {_hash(script)}; style-src {_hash(style)}; media-src 'self' file:; img-src data:"
    )
    head = page_head(
        "Scores and errors",
        main=("utterances", "utterances"),
        style=f"<style>{style}</style>",
        policy=f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
    )
    return Template(_asset("page.html")).substitute(head=head, index=index, script=script)


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
