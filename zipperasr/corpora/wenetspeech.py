"""WenetSpeech: long opus recordings and one big WenetSpeech.json.

Layout: WenetSpeech.json, audio/{train,dev,test_net,test_meeting}/.../AID.opus. A segment reads
`{"sid": "Y0000000000_--5llN02F84_S00000", "confidence": 1.0, "begin_time": 14.0, "end_time": 16.2,
"subsets": ["L"], "text": "..."}`; a recording's "path" is relative to the root.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zipperasr.cli import nearest
from zipperasr.corpora.recordings_json import iter_recordings, segment_times, segments_of, text_of
from zipperasr.corpora.utterance import Utterance, require_directory, require_file
from zipperasr.text_lines import check_id, check_text

SUBSETS = ("L", "M", "S", "W", "DEV", "TEST_NET", "TEST_MEETING")
REMEDY = "ask for access at wenet.org.cn/WenetSpeech and unpack with its tool"


def read(root: Path, language: str, split: str) -> Iterator[Utterance]:
    """Yield the segments of one subset (`L`, `dev`, `test_net`, ...); the recording is used as the speaker."""
    if language != "zh":
        raise ValueError(f"WenetSpeech has no language {language!r}; it is Mandarin (zh)")
    subset = split.upper()
    if subset not in SUBSETS:
        raise ValueError(f"WenetSpeech has no split {split!r}; {nearest(subset, list(SUBSETS))}")
    require_directory(root, REMEDY)
    metadata = require_file(root / "WenetSpeech.json", REMEDY)
    for recording in iter_recordings(metadata):
        aid, path = str(recording.get("aid", "")), recording.get("path", "")
        where = f"{metadata}: recording {aid!a}"
        if not isinstance(path, str):
            raise ValueError(f"{where}: got path {path!r}, wanted a string")
        path = Path(check_text(path, where))
        if not aid or not path.name or path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{where}: got path {str(path)!r}, wanted aid and a path below {root}")
        for segment in segments_of(recording, where):
            subsets = segment.get("subsets", [])
            if not isinstance(subsets, list):
                raise ValueError(f'{where}: got subsets {subsets!r}, wanted a list such as ["L"]')
            if subset not in subsets:
                continue
            sid = check_id(str(segment.get("sid", "")), where)
            begin_s, end_s = segment_times(segment, f"{where}: segment {sid}")
            yield Utterance(
                sid, check_id(aid, where), f"{root}/{path}", text_of(segment, ["text"], where), language,
                start_s=begin_s, end_s=end_s, duration_s=end_s - begin_s,
            )  # fmt: skip
