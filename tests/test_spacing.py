from __future__ import annotations

import pytest

from zipperasr.spacing import join_texts


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        (["Guten Tag.", "Wie geht es?"], "Guten Tag. Wie geht es?"),
        (["你好。", "再见"], "你好。再见"),
        (["データー", "『今日』は"], "データー『今日』は"),
        (["สวัสดี", "ครับ"], "สวัสดี ครับ"),
        (["안녕", "여러분"], "안녕 여러분"),
        (["你好", "hello", "再见"], "你好 hello 再见"),
        ([" a ", "", "b"], "a b"),
        ([], ""),
    ],
)
def test_texts_are_joined_with_a_space_unless_their_script_has_none_between_sentences(texts, joined):
    assert join_texts(texts) == joined
