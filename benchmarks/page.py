"""report.html of large test sets: size, time and memory to build it, response times in Chromium.

Input: none; texts are generated and scored by stage 8. Output: a section of RESULTS.md. Needs chromium, chromedriver
and selenium. Response times are those of the page's event handlers and include layout.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from record import write_section
from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait
from shared_options import add_results

from zipperasr.cli import parser, run_step
from zipperasr.datadir.entry import write_lines
from zipperasr.datadir.set_table import SetRow, write_sets
from zipperasr.markdown import table
from zipperasr.stages.score import main as score

SET, DECODING = "test_mls_de", "sft_vanilla_chunked/decode_greedy_chunked"
LANGUAGES = Path(__file__).parents[1] / "egs2" / "zipper12" / "asr1" / "conf" / "languages.tsv"
VOCABULARY, ERROR_RATE = 30_000, 0.15
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
BUILD = """
import re, sys
from zipperasr.report.html.__main__ import main
status = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
sys.exit(status)
"""  # ru_maxrss would include the memory of this process, which a child shares until it calls exec
FIRST_TABLE = "const [mark] = performance.getEntriesByName('table'); return mark ? mark.startTime : null"
LAID_OUT = "; document.querySelector('#table').getBoundingClientRect(); return performance.now() - start"
ACTIONS = {
    "sort by rate": "document.querySelector('th.col-rate button').click()",
    "sort by hypothesis": "document.querySelector('th.col-hypothesis button').click()",
    "filter by text": "const text = document.querySelector('[name=text]'); text.value = text.value ? '' : 'ba';"
    "text.dispatchEvent(new Event('input', { bubbles: true }))",
}


class Built(NamedTuple):
    """A page, and what it took to build."""

    page: Path
    seconds: float
    peak_mb: float


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--utts", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="sizes of the test set")
    options.add_argument("--rounds", type=int, default=5, help="number of measured rounds in the browser")
    add_results(options)
    return run_step(_run, options.parse_args(argv), "benchmarks.page")


def _run(options: argparse.Namespace) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for num_utts in options.utts:
            built = _build(_scored(Path(name) / str(num_utts), num_utts))
            first_s, heap_mb, actions = _looked_at(built.page, options.rounds)
            size = [f"{num_utts:,}", f"{built.page.stat().st_size / 1e6:.1f}"]
            rows.append([*size, f"{built.seconds:.1f}", f"{built.peak_mb:.0f}", f"{first_s:.2f}", f"{heap_mb:.0f}"])
            rows[-1] += [f"{milliseconds:.0f}" for milliseconds in actions.values()]
        version = subprocess.run(["chromium", "--version"], capture_output=True, text=True, check=True).stdout.split()[
            1
        ]
    header = ["utterances", "page, MB", "build, s", "peak RSS, MB", "first table, s", "JS heap, MB"]
    body = (
        "One system and one test set; vocabulary of 30,000 words with Zipf's distribution, 8 to 30 words per "
        "utterance, 15 % errors. The page is built in a separate process; its time includes imports. "
        f"Chromium {version}, headless, without a GPU, median of {options.rounds} rounds: time from opening the file "
        "to the first table, then from a click or key press to the new layout of the table."
    )
    write_section(
        "report.html", f"{body}\n\n{table([*header, *(f'{a}, ms' for a in ACTIONS)], rows, 0)}", options.results
    )


def _scored(root: Path, num_utts: int) -> Path:
    """Return a recipe directory in the state after stage 8."""
    raw, decoded = root / "dump" / "raw", root / "exp" / DECODING
    for directory in (raw / SET, decoded / SET):
        directory.mkdir(parents=True)
    draw = random.Random(num_utts)
    words = ["".join(draw.choices("abdefgiklmnoprstu", k=draw.randint(2, 10))) for _ in range(VOCABULARY)]
    weights = [1 / rank for rank in range(1, VOCABULARY + 1)]
    utts = [f"spk{number // 50:05d}-{number:07d}" for number in range(num_utts)]
    references = [draw.choices(words, weights, k=draw.randint(8, 30)) for _ in utts]
    hypotheses = [[word if draw.random() > ERROR_RATE else draw.choice(words) for word in ref] for ref in references]
    for path, texts in ((raw / SET / "text", references), (decoded / SET / "text", hypotheses)):
        write_lines(path, (f"{utt} {' '.join(text)}" for utt, text in zip(utts, texts, strict=True)))
    write_lines(raw / SET / "utt2spk", (f"{utt} {utt.split('-')[0]}" for utt in utts))
    write_lines(raw / SET / "utt2lang", (f"{utt} de" for utt in utts))
    write_lines(raw / SET / "utt2dur", (f"{utt} {draw.uniform(2, 20):.3f}" for utt in utts))
    write_sets(raw / "sets.tsv", [SetRow(SET, "test", "sft", "mls", "de")])
    if score(["--decode_dir", str(decoded), "--raw", str(raw), "--languages", str(LANGUAGES)]):
        raise ValueError("stage 8 failed; see the error above")
    return root


def _build(root: Path) -> Built:
    places = ["--exp", root / "exp", "--raw", root / "dump" / "raw", "--languages", LANGUAGES, "--audio", "none"]
    page = root / "report.html"
    start = time.monotonic()
    command = [sys.executable, "-c", BUILD, *map(str, places), "--out", str(page)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise ValueError("the page could not be built; see the error above")
    return Built(page, time.monotonic() - start, int(done.stdout) / 1024)


def _looked_at(page: Path, rounds: int) -> tuple[float, float, dict[str, float]]:
    """Return medians: seconds to the first table, MB of JavaScript heap, {action: milliseconds}."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    firsts, heaps, actions = [], [], {name: [] for name in ACTIONS}
    with tempfile.TemporaryDirectory() as user_data:
        for argument in (*ARGUMENTS, "--enable-precise-memory-info", f"--user-data-dir={user_data}"):
            options.add_argument(argument)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
        for _ in range(rounds):
            driver.get(page.as_uri())
            firsts.append(WebDriverWait(driver, 120).until(lambda d: d.execute_script(FIRST_TABLE)) / 1000)
            heaps.append(driver.execute_script("return performance.memory.usedJSHeapSize") / 1e6)
            for name, script in ACTIONS.items():
                spent = driver.execute_script(f"const start = performance.now(); {script} {LAID_OUT}")
                actions[name].append(spent)
        driver.quit()
    return median(firsts), median(heaps), {name: median(times) for name, times in actions.items()}


if __name__ == "__main__":
    sys.exit(main())
