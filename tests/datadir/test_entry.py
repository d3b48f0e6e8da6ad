from pathlib import Path

import pytest

from tests.corpora.example import write_text
from zipperasr.datadir.entry import read_table


def test_table_errors_name_file_and_line(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"text: no such file; run the stage"):
        read_table(tmp_path / "text")
    write_text(tmp_path / "text", "a one", "b")
    with pytest.raises(ValueError, match=r"text:2: 'b' has no value"):
        read_table(tmp_path / "text")
    write_text(tmp_path / "text", "a one", "a two")
    with pytest.raises(ValueError, match=r"text:2: 'a' is repeated"):
        read_table(tmp_path / "text")
