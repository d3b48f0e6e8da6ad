"""Option parser, logging and error handling of all commands.

A command is a module with `main(argv=None)`. Results go to stdout, logs to stderr. Bad input ends in one line on stderr
and exit status 1; programming errors keep their traceback.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

LONGEST_ERROR = 500  # characters; the end, with the remedy, is kept
# Control characters except tab and newline, and those that change the writing direction.
_CONTROL = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069]")


class _Parser(argparse.ArgumentParser):
    """Accepts `--a-b` for `--a_b`; abbreviated options are errors."""

    def parse_known_args(self, args=None, namespace=None):
        args = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args([_underscored(arg) for arg in args], namespace)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the description and adds defaults that tell the user something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        is_absolute = isinstance(default, Path) and default.is_absolute()  # differs between machines
        if not action.help or action.required or action.nargs == 0 or is_absolute:
            return action.help
        if default is argparse.SUPPRESS or default in (None, "", [], ()):
            return action.help
        if isinstance(default, bool):
            default = str(default).lower()  # as str2bool reads it
        words = " ".join(map(str, default)) if isinstance(default, list | tuple) else str(default)
        return f"{action.help} (default: {words.replace('%', '%%')})"


def parser(doc: str | None, **settings: str) -> argparse.ArgumentParser:
    """Return an option parser that shows the module's docstring and defaults; `settings` go to argparse.

    Defaults are left out if they are empty or an absolute path, and for required options and flags.
    """
    return _Parser(description=doc, formatter_class=_Help, allow_abbrev=False, **settings)


def log(message: str) -> None:
    """Print a time-stamped line to stderr. If it cannot be written (closed pipe, full disk), the work continues."""
    with suppress(OSError, ValueError):
        print(f"{datetime.now():%Y-%m-%d %H:%M:%S} {escaped(message)}", file=sys.stderr, flush=True)


def run_step(step: Callable[[argparse.Namespace], None], options: argparse.Namespace, name: str) -> int:
    """Run `step(options)`, log its duration, report ValueError and OSError in one line. Returns the exit status."""
    start = time.monotonic()
    try:
        step(options)
    except (ValueError, OSError) as error:
        message = f"{name}: error: {' '.join(str(error).split())}"
        print(shortened(escaped(message), LONGEST_ERROR), file=sys.stderr, flush=True)
        return 1
    log(f"{name}: done in {time.monotonic() - start:.1f} s")
    return 0


def escaped(text: str) -> str:
    """Escape control characters, so that names in data cannot control the terminal."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def shortened(text: str, most: int = 200) -> str:
    """Return `text`, or its beginning and its end around `...`."""
    half = (most - 5) // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


def nearest(word: str, known: Sequence[str]) -> str:
    """Suggest the known word closest to an unknown one, then list all."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}choose from {', '.join(known)}"


def str2bool(text: str) -> bool:
    """Parse `true` or `false`, as in Kaldi and ESPnet scripts."""
    if text.lower() in {"true", "1", "yes"}:
        return True
    if text.lower() in {"false", "0", "no"}:
        return False
    raise argparse.ArgumentTypeError(f"got {text!r}, wanted true or false")


def _underscored(arg: str) -> str:
    if not arg.startswith("--") or arg == "--":
        return arg
    name, sep, value = arg.partition("=")
    return "--" + name[2:].replace("-", "_") + sep + value
