"""Heat map of cosines between languages' LID embeddings (the paper's Fig. 7).

In: exp/lid/cosine_{token,state}.tsv, whose header row holds the codes. Out: one PNG per file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zipperasr.report.collect import read_tsv
from zipperasr.report.figures.style import figure


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
    """Off-diagonal values set the colour range; every cell is written out."""
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
    """`.41`, `−.05`, `1.00`: two decimals in little room."""
    text = f"{abs(value):.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{abs(value):.2f}"
    return "−" + text if value < -0.005 else text
