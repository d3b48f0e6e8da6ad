"""The command line: `zipperasr COMMAND ...` or `python -m zipperasr COMMAND ...`.

Each command is a module with its own `main(argv)`, imported when it is called.
"""

from __future__ import annotations

import sys
from importlib import import_module

from zipperasr.cli import log, nearest

COMMANDS = {  # name: (module, line of --help)
    "new": ("zipperasr.own_data.new_recipe", "create a recipe for your own data"),
    "data": ("zipperasr.own_data.check", "check lists of utterances: hours, languages, duplicates, errors"),
    "transcribe": ("zipperasr.transcribe.__main__", "transcribe recordings to text, JSON, subtitles or trn"),
    "evaluate": ("zipperasr.evaluate.__main__", "measure a model's error rates and speed on a list of utterances"),
    "serve": ("zipperasr.serve.__main__", "serve a model as a web page and an OpenAI-compatible endpoint"),
    "export": ("zipperasr.exchange.export", "export a model for PEFT or transformers, or as a single file"),
    "import": ("zipperasr.exchange.importer", "import a PEFT adapter, a bundle or a checkpoint of another tool"),
    "train-aligner": ("zipperasr.align.train_aligner", "train an aligner, which finds the times of words, for a model"),
    "calibrate": ("zipperasr.transcribe.calibrate", "fit the confidences of words on the dev sets"),
    "plan": ("zipperasr.plan.__main__", "estimate parameters, memory and training steps of an experiment"),
    "compare": ("zipperasr.stats.compare", "test scored decodings for significant differences"),
    "sclite": ("zipperasr.score.sclite.__main__", "score trn files like NIST's sclite"),
    "report-html": ("zipperasr.report.html.__main__", "write report.html for chosen decodings"),
}
RENAMED = {"demo": "serve"}  # old name -> new name, for one release


def usage() -> str:
    """One line per command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        ["usage: zipperasr COMMAND [options]", "", *lines, "", "`zipperasr COMMAND --help` lists the options."]
    )


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(usage(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    name, *rest = argv
    if name in RENAMED:
        log(f"warning: `zipperasr {name}` is now `zipperasr {RENAMED[name]}`; the old name will be removed")
        name = RENAMED[name]
    if name not in COMMANDS:
        print(f"zipperasr: error: unknown command {name!r}; {nearest(name, list(COMMANDS))}", file=sys.stderr)
        return 2
    program, sys.argv[0] = sys.argv[0], f"zipperasr {name}"  # the name in argparse's usage line
    try:
        return import_module(COMMANDS[name][0]).main(rest)
    finally:
        sys.argv[0] = program


if __name__ == "__main__":
    sys.exit(main())
