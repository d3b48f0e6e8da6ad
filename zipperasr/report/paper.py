"""The paper's systems and its Tables II to VI: what each table holds, and the few figures that the text gives.

In: decodings. Out: Markdown tables laid out alike, empty where nothing of them is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zipperasr.languages import LanguageTable
from zipperasr.lora import VARIANTS
from zipperasr.report.collect import Decoding
from zipperasr.report.groups import Groups
from zipperasr.report.tables import group_table

RESOURCES = {"larger": "high-resource", "small": "low-resource"}  # the paper's words for groups of target languages
STAGE_1 = "Stage 1"
ZIPPERS = ("zipper_static", "zipper_hard", "zipper_soft")
SOFT, INITIAL_B = "zipper_soft", "zipper_soft initial_b"
SYSTEMS = (*VARIANTS, INITIAL_B)  # rows of its tables, as labels of ours

# Section VI-A, chunked encoder; keys: label, encoder regime, test set.
FIGURES = {
    (STAGE_1, "chunked", "test_msr86k_th"): 4.20,
    ("vanilla", "chunked", "test_msr86k_th"): 13.58,
    ("zipper_hard", "chunked", "test_msr86k_en"): 4.79,
    ("zipper_hard", "chunked", "test_msr86k_th"): 7.59,
    ("zipper_hard", "chunked", "test_wenetspeech_zh_net"): 11.61,
}


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper; `holds` picks its rows, `group` its test sets."""

    heading: str
    group: str  # source | larger | small
    holds: Callable[[Decoding], bool]

    def markdown(self, decodings: Sequence[Decoding], groups: Groups, languages: LanguageTable) -> str:
        """The table, empty without a row or column."""
        return group_table(list(filter(self.holds, decodings)), self.group, groups, languages, FIGURES)


def _adapted(setting: str, *regimes: str) -> Callable[[Decoding], bool]:
    def holds(decoding: Decoding) -> bool:
        model = decoding.model
        return model.phase != "align" and model.setting == setting and (not regimes or decoding.regime in regimes)

    return holds


TABLES = (
    PaperTable("Table II: Stage 1 on the source domain", "source", lambda decoding: decoding.model.phase == "align"),
    PaperTable("Table III: the source domain after SFT", "source", _adapted("1h")),
    PaperTable("Table IV: high-resource target languages, chunked encoder", "larger", _adapted("1h", "chunked")),
    PaperTable("Table V: high-resource target languages, full-context encoder", "larger", _adapted("1h", "full")),
    PaperTable("Table VI: low-resource target languages", "small", _adapted("1h")),
    PaperTable("The low-resource target languages with 30 h (behind Fig. 6)", "small", _adapted("30h")),
)
MORE_WITH_30H = (
    PaperTable("source domain after SFT", "source", _adapted("30h")),
    PaperTable("High-resource target languages", "larger", _adapted("30h")),
)
