"""The paper's systems and its Tables II to VI: the rows and columns of each table, and the rates its text gives.

In: decodings. Out: Markdown tables with the paper's layout, empty if nothing of them is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zipperasr.languages import LanguageTable
from zipperasr.lora import VARIANTS
from zipperasr.report.collect import ALIGNMENT, Decoding
from zipperasr.report.groups import HIGH, LOW, SOURCE, Groups
from zipperasr.report.tables import group_table

ZIPPERS = ("zipper_static", "zipper_hard", "zipper_soft")
SOFT, INITIAL_B = "zipper_soft", "zipper_soft initial_b"
SYSTEMS = (*VARIANTS, INITIAL_B)  # rows of the paper's tables, by our labels

# Section VI-A, chunked encoder; keys: label, encoder regime, test set.
PUBLISHED = {
    (ALIGNMENT, "chunked", "test_msr86k_th"): 4.20,
    ("vanilla", "chunked", "test_msr86k_th"): 13.58,
    ("zipper_hard", "chunked", "test_msr86k_en"): 4.79,
    ("zipper_hard", "chunked", "test_msr86k_th"): 7.59,
    ("zipper_hard", "chunked", "test_wenetspeech_zh_net"): 11.61,
}


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper; `holds` selects its rows, `group` its test sets."""

    heading: str
    group: str  # of zipperasr.report.groups
    holds: Callable[[Decoding], bool]

    def markdown(self, decodings: Sequence[Decoding], groups: Groups, languages: LanguageTable) -> str:
        """The table; empty if it has no row or no column."""
        return group_table(list(filter(self.holds, decodings)), self.group, groups, languages, PUBLISHED)


def _aligned(decoding: Decoding) -> bool:
    return decoding.model.phase == "align"


def _adapted(setting: str, *regimes: str) -> Callable[[Decoding], bool]:
    def holds(decoding: Decoding) -> bool:
        model = decoding.model
        return model.phase != "align" and model.setting == setting and (not regimes or decoding.regime in regimes)

    return holds


TABLES = (
    PaperTable("Table II: the source domain after alignment (the paper's Stage 1)", SOURCE, _aligned),
    PaperTable("Table III: the source domain after adaptation (the paper's Stage 2)", SOURCE, _adapted("1h")),
    PaperTable("Table IV: high-resource target languages, chunked encoder", HIGH, _adapted("1h", "chunked")),
    PaperTable("Table V: high-resource target languages, full-context encoder", HIGH, _adapted("1h", "full")),
    PaperTable("Table VI: low-resource target languages", LOW, _adapted("1h")),
    PaperTable("The low-resource target languages with 30 h (behind Fig. 6)", LOW, _adapted("30h")),
)
MORE_WITH_30H = (
    PaperTable("source domain after adaptation", SOURCE, _adapted("30h")),
    PaperTable("high-resource target languages", HIGH, _adapted("30h")),
)
