"""The model card of a bundle, README.md in Hugging Face's form.

In: a training with those that it started from. Out: Markdown after a YAML block that huggingface_hub writes: languages,
licence, base models, data sets and, if stage 8 has scored the model, its error rates.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from zipperasr.corpora import CORPORA
from zipperasr.exchange.licences import FILE as LICENCES
from zipperasr.exchange.licences import public_name
from zipperasr.exchange.training_data import TrainingData, training_data
from zipperasr.languages import LanguageTable
from zipperasr.markdown import percent, table
from zipperasr.model.bundle_paths import is_hub_id
from zipperasr.model.experiment import LANGUAGES, Experiment
from zipperasr.score.scores_table import SetScore, read_scores

FILE = "README.md"
TASK = "automatic-speech-recognition"
SYNTHETIC = "synthetic"


def model_card(chain: Sequence[tuple[Path, Experiment]], backbones: Mapping[str, str]) -> str:
    """The card. chain: the training and those before it; backbones: directory or hub id by whisper, llm.

    Raises ValueError for a malformed scores.tsv or data table.
    """
    directory, experiment = chain[0]
    name = directory.resolve().name
    languages = LanguageTable.load(directory / LANGUAGES).chosen(experiment.languages)
    data, scores = training_data(chain), scores_by_decoding(directory)
    decoding = _preferred(scores, experiment.regime)
    rows = [row for row in scores.get(decoding, []) if row.ref_units]
    header = ModelCardData(
        language=list(experiment.languages),
        license="other",
        license_name="see-licences",
        license_link=LICENCES,
        library_name="zipperasr",
        pipeline_tag=TASK,
        base_model=[source for source in backbones.values() if is_hub_id(source)] or None,
        datasets=_hub_ids(data),
        metrics=sorted({row.unit for row in rows}) or None,
        tags=["speech", "multilingual", "lora", *([SYNTHETIC] if data.synthetic else [])],
        model_name=name if rows else None,
        eval_results=[_eval_result(row, languages, row.corpus in data.made, decoding) for row in rows] or None,
    )
    parts = [
        f"---\n{header.to_yaml()}\n---",
        f"# {name}",
        _summary(experiment, languages, backbones),
        "## Use",
        _use(languages),
        "## Error rates",
        *_error_rates(scores, data.made),
        "## Training data",
        _training_data(data, languages),
        "## Limits",
        _limits(experiment, languages, data),
        "## Licences",
        f"[{LICENCES}]({LICENCES}) lists the parts of the model with their licences. The corpora have their own terms.",
    ]
    return "\n\n".join(parts) + "\n"


def scores_by_decoding(directory: Path) -> dict[str, list[SetScore]]:
    """The rows of stage 8 by decoding directory, without the second scoring with combining marks."""
    found = {path.parent.name: read_scores(path) for path in sorted(directory.glob("decode_*/scores.tsv"))}
    return {name: [row for row in rows if row.normaliser != "whisper_marks"] for name, rows in found.items()}


def _preferred(names: Iterable[str], regime: str) -> str:
    """The decoding for the header: greedy in the trained regime, best without a tag; else the first; "" if none."""
    greedy = f"decode_greedy_{regime}"
    return min(names, key=lambda name: (name != greedy, not name.startswith(greedy), name), default="")


def _hub_ids(data: TrainingData) -> list[str] | None:
    """Those of the recorded corpora that have a fixed id on Hugging Face's hub."""
    recorded = {row.corpus for row in data.rows if not row.synthetic and row.corpus in CORPORA}
    return sorted({CORPORA[corpus].hub_id for corpus in recorded} - {""}) or None


def _eval_result(row: SetScore, languages: LanguageTable, synthetic: bool, decoding: str) -> EvalResult:
    hub_id = CORPORA[row.corpus].hub_id if row.corpus in CORPORA else ""
    language = languages[row.language].name if row.language in languages else row.language
    return EvalResult(
        task_type=TASK,
        task_name="Automatic Speech Recognition",
        dataset_type=SYNTHETIC if synthetic else hub_id or row.corpus,
        dataset_name=f"{f'{SYNTHETIC} speech for ' if synthetic else ''}{row.corpus} ({language})",
        dataset_config=row.set,
        dataset_split="test",
        dataset_args={"language": row.language},
        metric_type=row.unit,
        metric_name=f"Test {row.unit.upper()}",
        metric_value=round(row.rate, 2),
        metric_args={
            "low": round(row.low, 2),
            "high": round(row.high, 2),
            "normaliser": row.normaliser,
            "decoding": decoding,
        },
    )


def _summary(experiment: Experiment, languages: LanguageTable, backbones: Mapping[str, str]) -> str:
    whisper, llm = (public_name(source) for source in backbones.values())
    adapters = experiment.lora or "no adapters on the encoder"
    return (
        f"A speech recogniser for {len(languages)} languages: the encoder {whisper}, a projector, and the LLM {llm}, "
        f"trained with zipperasr ({adapters}, {experiment.regime} attention in the encoder)."
    )


def _use(languages: LanguageTable) -> str:
    return f"""Install zipperasr with `pip install .` in a copy of its repository, or from a wheel made there.

```python
from zipperasr.transcribe import Transcriber

model = Transcriber.from_pretrained("path/to/model")  # this bundle, as a zip file or unpacked
print(model("speech.wav", lang="{languages.codes[0]}").text)
```"""


def _error_rates(scores: Mapping[str, list[SetScore]], made: Collection[str]) -> list[str]:
    if not scores:
        return ["This model was exported without scores."]
    parts = ["WER or CER in per cent after normalisation, with 95 % bootstrap intervals over utterances or speakers."]
    if synthetic := sorted({row.corpus for rows in scores.values() for row in rows} & set(made)):
        parts.append(
            f"The test sets of {', '.join(synthetic)} are synthetic speech: the rates do not predict those on "
            "recordings."
        )
    for name, rows in scores.items():
        cells = [
            (
                row.set,
                row.language,
                row.unit.upper(),
                str(row.utts),
                percent(row.rate),
                f"{row.low:.2f}–{row.high:.2f}",
            )
            for row in rows
        ]
        header = ("test set", "language", "unit", "utterances", "rate", "interval")
        parts += [f"Decoding `{name}`:", table(header, cells, num_labels=3)]
    return parts


def _training_data(data: TrainingData, languages: LanguageTable) -> str:
    if not data.rows:
        return "The recipe's data directories were not there when the model was exported; its author can name the data."
    cells = [
        (
            languages[row.language].name,
            f"{row.corpus} ({SYNTHETIC})" if row.synthetic else row.corpus,
            ", ".join(row.used_in),
            f"{row.hours:.2f}",
        )
        for row in data.rows
    ]
    parts = [table(("language", "corpus", "used in", "hours"), cells, num_labels=3)]
    if data.synthetic:
        parts.insert(0, "Corpora marked as synthetic are synthetic speech in their layout, none of their recordings.")
    parts += [f"Data of {training}: not recorded." for training in data.not_recorded]
    return "\n\n".join(parts)


def _limits(experiment: Experiment, languages: LanguageTable, data: TrainingData) -> str:
    trained = {row.language for row in data.rows}
    without = ", ".join(language.name for language in languages if data.rows and language.code not in trained)
    longest = f"{experiment.longest_s:g} s" if experiment.longest_s else "not recorded"
    lines = [
        f"Languages: {', '.join(language.name for language in languages)}; any other language is refused.",
        f"Longest training clips: {longest}. Longer recordings are cut in pauses, and the texts are joined.",
        "Domain: that of the training data; the error rates hold for these test sets alone.",
    ]
    if without:
        lines.append(f"No training data is listed for {without}.")
    return "\n".join(f"- {line}" for line in lines)
