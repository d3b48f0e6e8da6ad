"""`zipperasr COMMAND ...` or `python -m zipperasr COMMAND ...`: a trained model for those who only use it.

Each command is a step with a `main(argv)` of its own; its module is imported when the command is called.
"""

from __future__ import annotations

import sys
from importlib import import_module

from zipperasr.cli import nearest

COMMANDS = {  # name: (module, what --help says)
    "transcribe": ("zipperasr.transcribe.__main__", "turn recordings into text, JSON, subtitles or trn"),
    "demo": ("zipperasr.serve.__main__", "serve a web page and OpenAI's transcription endpoint on this machine"),
    "export": ("zipperasr.exchange.export", "write a trained model in PEFT's, transformers' or a packed form"),
    "import": (
        "zipperasr.exchange.importer",
        "take in a PEFT adapter, a bundle, or a foreign checkpoint by a key table",
    ),
}


def usage() -> str:
    """All commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        ["usage: zipperasr COMMAND [options]", "", *lines, "", "zipperasr COMMAND --help has its options."]
    )


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(usage(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    name, *rest = argv
    if name not in COMMANDS:
        print(f"zipperasr: error: unknown command {name!r}; {nearest(name, list(COMMANDS))}", file=sys.stderr)
        return 2
    return import_module(COMMANDS[name][0]).main(rest)


if __name__ == "__main__":
    sys.exit(main())
