"""Heat map of cosines between the language embeddings (the paper's Fig. 7).

In: exp/lid/cosine_{token,state}.tsv, with language codes in the header row. Out: one PNG per file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zipperasr.cli import log
from zipperasr.report.collect import Run
from zipperasr.report.figures.style import figure
from zipperasr.report.read_files import read_tsv

TITLES = {
    "token": "Cosine of Whisper's language token embeddings",
    "state": "Cosine of decoder states at the language token",
}


def draw(run: Run, directory: Path) -> dict[str, Path]:
    """One figure per kind of embedding."""
    drawn = {}
    for mode, title in TITLES.items():
        cosines = run.exp / "lid" / f"cosine_{mode}.tsv"
        if cosines.is_file():
            drawn[title] = directory / f"lid_{mode}.png"
            draw_cosines(drawn[title], *read_cosines(cosines), title)
        else:
            log(f"no heat map: {cosines} not found; stage 4 writes it")
    return drawn


def read_cosines(path: Path) -> tuple[list[str], np.ndarray]:
    """(codes, square matrix); a leading label column is allowed. Raises ValueError if it is not square."""
    header, rows = read_tsv(path)
    labelled = bool(rows) and rows[0][0] in header[1:]  # the first row is the first language's
    codes = header[1:] if labelled else header
    try:
        matrix = np.array([[float(cell) for cell in (row[1:] if labelled else row)] for row in rows])
    except ValueError as error:
        raise ValueError(f"{path}: {error}; rerun stage 4") from error
    if matrix.shape != (len(codes), len(codes)):
        raise ValueError(f"{path}: got {len(rows)} rows for {len(codes)} languages, wanted a square; rerun stage 4")
    return codes, matrix


def draw_cosines(path: Path, codes: list[str], cosines: np.ndarray, title: str) -> None:
    """Colours cover the range of the off-diagonal values; every cell shows its value."""
    others = cosines[~np.eye(len(codes), dtype=bool)]
    size_in = 1.6 + 0.42 * len(codes)
    with figure(path, size_in + 0.9, size_in) as (drawing, (axis,)):
        low, high = float(others.min()), float(others.max())
        image = axis.imshow(cosines, cmap="cividis", vmin=low, vmax=high)
        for row in range(len(codes)):
            for column in range(len(codes)):
                value = cosines[row, column]
                shade = "white" if value < (low + high) / 2 else "black"
                axis.text(column, row, _short(value), ha="center", va="center", fontsize=7, color=shade)
        axis.set_xticks(range(len(codes)), codes)
        axis.set_yticks(range(len(codes)), codes)
        axis.grid(False)
        axis.set_title(title)
        drawing.colorbar(image, ax=axis, label="cosine (range of pairs)", shrink=0.8)


def _short(value: float) -> str:
    """Two decimals without a leading zero: `.41`, `−.05`, `1.00`."""
    text = f"{abs(value):.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{abs(value):.2f}"
    return "−" + text if value < -0.005 else text
