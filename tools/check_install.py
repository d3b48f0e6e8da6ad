#!/usr/bin/env python3
"""Use every component once; print its version and whether it works.

Exit status 1 if a required component fails. Each check does a small piece of the real work (a two-rank training step,
an audio file written and read back), because an import that succeeds proves little.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "egs2" / "zipper12" / "asr1"
FAILURES = (ImportError, OSError, RuntimeError, ValueError, AttributeError, TypeError, subprocess.SubprocessError)
ESPNET_MODULES = (
    "espnet2.fileio.sound_scp",
    "espnet2.fileio.datadir_writer",
    "espnet2.fileio.read_text",
    "espnet2.fileio.npy_scp",
    "espnet2.samplers.build_batch_sampler",
    "espnet2.train.reporter",
    "espnet2.train.abs_espnet_model",
    "espnet2.utils.config_argparse",
    "espnet2.main_funcs.pack_funcs",
)


class Check(NamedTuple):
    """One row of the table: `run` returns a remark, or raises one of FAILURES."""

    name: str
    package: str  # the distribution whose version is shown, or empty
    run: Callable[[], str]
    required: bool = True


def check_python() -> str:
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        raise ValueError(f"got Python {sys.version.split()[0]}, wanted 3.10 to 3.13")
    return f"{sys.version.split()[0]}, {sys.executable}"


def check_torch() -> str:
    import torch

    product = torch.eye(2) @ torch.ones(2, 2)
    return f"{torch.get_num_threads()} threads, sum {product.sum().item():.0f}"


def check_cuda() -> str:
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("no GPU: everything runs on the CPU")
    total = torch.ones(4, device="cuda", dtype=torch.bfloat16).sum().item()
    return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, bf16 sum {total:.0f}"


def check_transformers() -> str:
    from transformers import Qwen3Config, Qwen3ForCausalLM, WhisperConfig, WhisperModel

    whisper = WhisperModel(WhisperConfig(d_model=12, encoder_layers=1, decoder_layers=1))
    qwen = Qwen3ForCausalLM(Qwen3Config(hidden_size=16, num_hidden_layers=1, intermediate_size=16))
    return f"{type(whisper).__name__}, {type(qwen).__name__} built"


def check_peft() -> str:
    import torch
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(torch.nn.Sequential(torch.nn.Linear(4, 4)), LoraConfig(r=2, target_modules=["0"]))
    return f"{sum(p.numel() for p in model.parameters() if p.requires_grad)} LoRA weights on one layer"


def check_deepspeed() -> str:
    """Run deepspeed_step.py."""
    command = [sys.executable, str(Path(__file__).with_name("deepspeed_step.py"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stdout.strip().splitlines()[-1]


def check_espnet() -> str:
    for module in ESPNET_MODULES:
        importlib.import_module(module)
    return f"{len(ESPNET_MODULES)} modules (readers, samplers, reporter)"


def check_kaldiio() -> str:
    import kaldiio
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        samples = np.arange(-800, 800, dtype=np.int16)
        with kaldiio.WriteHelper(f"ark,scp:{folder}/a.ark,{folder}/a.scp") as writer:
            writer("utt", (16000, samples))
        rate_hz, back = kaldiio.load_scp(f"{folder}/a.scp")["utt"]  # noqa: TID251  # what is checked
    if rate_hz != 16000 or not np.array_equal(back, samples):
        raise ValueError("audio read from an ark differs from what was written")
    return "audio ark written and read back"


def check_codec(suffix: str, container: str, codec: str) -> Callable[[], str]:
    """Write one second of a tone, read it back, compare lengths and pitch."""

    def check() -> str:
        import numpy as np
        import soundfile

        tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/tone.{suffix}"
            soundfile.write(path, tone, 16000, format=container, subtype=codec)
            back, rate_hz = soundfile.read(path)
        peak_hz = np.abs(np.fft.rfft(back)).argmax() * rate_hz / len(back)
        if abs(peak_hz - 440) > 5 or abs(len(back) / rate_hz - 1) > 0.15:
            raise ValueError(f"a 1 s tone of 440 Hz came back as {len(back) / rate_hz:.2f} s of {peak_hz:.0f} Hz")
        return "1 s tone written and read back"

    return check


def check_sentencepiece() -> str:
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["zip zipper zipped"] * 4), model_writer=model, vocab_size=13, minloglevel=2
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).encode("zipper")
    return f"trained; 'zipper' in {len(pieces)} pieces"


def check_normaliser() -> str:
    from whisper_normalizer.english import EnglishTextNormalizer

    text = EnglishTextNormalizer()("Mr. Zip has colour.")
    if text != "mister zip has color":
        raise ValueError(f"got {text!r}, wanted 'mister zip has color'")
    return "English text normalised"


def check_jiwer() -> str:
    import jiwer

    return f"WER of one word in four wrong: {jiwer.wer('a b c d', 'a b c e'):.2f}"


def check_pyarrow() -> str:
    import pyarrow as pa

    with tempfile.TemporaryDirectory() as folder:
        table = pa.table({"utt": ["a", "b"]})
        with pa.OSFile(f"{folder}/t.arrow", "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        with pa.memory_map(f"{folder}/t.arrow") as source:
            rows = pa.ipc.open_file(source).read_all().num_rows
    return f"{rows} rows written and mapped"


def check_orjson() -> str:
    import orjson

    return f"{len(orjson.loads('[1, 2]'))} numbers decoded"


def check_matplotlib() -> str:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with tempfile.TemporaryDirectory() as folder:
        pyplot.plot([0, 1])
        pyplot.savefig(f"{folder}/a.png")
        return f"figure of {os.path.getsize(f'{folder}/a.png')} bytes"


def check_tensorboard() -> str:
    from torch.utils.tensorboard import SummaryWriter

    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder) as writer:
            writer.add_scalar("loss", 1.0, 0)
        return f"{len(os.listdir(folder))} event file"


def check_espeak() -> str:
    sys.path.insert(0, str(RECIPE))
    from local.mini.espeak import SAMPLE_RATE_HZ, VOICE_NAMES, Espeak, Voice

    espeak = Espeak()
    seconds = sum(len(espeak.say("1 2 3", language, Voice())) / SAMPLE_RATE_HZ for language in VOICE_NAMES)
    return f"'1 2 3' in {len(VOICE_NAMES)} languages, {seconds:.1f} s"


def check_vocabularies() -> str:
    from zipperasr.model.bpe_ranks import QWEN_RANKS, WHISPER_RANKS, read_ranks

    return f"{len(read_ranks(WHISPER_RANKS)):,} tokens of Whisper, {len(read_ranks(QWEN_RANKS)):,} of Qwen3"


def check_serve() -> str:
    """Send a form with a file through the server's stack, without a socket, and import that of WebSockets."""
    import httpx
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def size(request: Request) -> PlainTextResponse:
        async with request.form() as form:
            return PlainTextResponse(str(form["file"].size))

    async def ask() -> str:
        transport = httpx.ASGITransport(Starlette(routes=[Route("/", size, methods=["POST"])]))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return (await client.post("/", files={"file": b"12345"})).text

    import uvicorn
    import websockets
    from prometheus_client import CollectorRegistry, Counter, generate_latest

    registry = CollectorRegistry()
    Counter("checks", "Checks", registry=registry)
    assert b"checks_total 0.0" in generate_latest(registry)
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    assert issubclass(WebSocketsSansIOProtocol, asyncio.Protocol)
    versions = f"uvicorn {uvicorn.__version__}, websockets {websockets.__version__}"
    return f"{asyncio.run(ask())} bytes uploaded; {versions}"


def check_sclite() -> str:
    if not shutil.which("sclite"):
        raise RuntimeError("not on PATH; optional; install it with tools/install_sctk.sh")
    lines = subprocess.run(["sclite"], capture_output=True, text=True, timeout=20)
    return next(line for line in (lines.stdout + lines.stderr).splitlines() if "ersion" in line).strip()


CHECKS = [
    Check("python", "", check_python),
    Check("torch", "torch", check_torch),
    Check("CUDA", "", check_cuda, required=False),
    Check("transformers", "transformers", check_transformers),
    Check("peft", "peft", check_peft),
    Check("deepspeed", "deepspeed", check_deepspeed),
    Check("espnet", "espnet", check_espnet),
    Check("kaldiio", "kaldiio", check_kaldiio),
    Check("soundfile wav", "soundfile", check_codec("wav", "WAV", "PCM_16")),
    Check("soundfile flac", "soundfile", check_codec("flac", "FLAC", "PCM_16")),
    Check("soundfile mp3", "soundfile", check_codec("mp3", "MP3", "MPEG_LAYER_III")),
    Check("soundfile opus", "soundfile", check_codec("opus", "OGG", "OPUS")),
    Check("sentencepiece", "sentencepiece", check_sentencepiece),
    Check("whisper-normalizer", "whisper-normalizer", check_normaliser),
    Check("jiwer", "jiwer", check_jiwer),
    Check("pyarrow", "pyarrow", check_pyarrow),
    Check("orjson", "orjson", check_orjson),
    Check("matplotlib", "matplotlib", check_matplotlib),
    Check("tensorboard", "tensorboard", check_tensorboard),
    Check("espeak-ng", "espeakng-loader", check_espeak),
    Check("serve", "starlette", check_serve, required=False),
    Check("vocabularies", "", check_vocabularies, required=False),
    Check("sclite", "", check_sclite, required=False),
]


def installed_version(package: str) -> str:
    """Version of an installed distribution; `-` if it is absent or none is given."""
    try:
        return importlib.metadata.version(package) if package else "-"
    except importlib.metadata.PackageNotFoundError:
        return "-"


def row(check: Check) -> tuple[bool, str]:
    """Run one check. Returns whether the installation is usable, and the line of the table."""
    try:
        works, remark = True, check.run()
    except FAILURES as error:
        works, remark = False, " ".join(f"{type(error).__name__}: {error}".split())
    mark = "yes" if works else ("NO" if check.required else "no (optional)")
    return works or not check.required, f"{check.name:<19}{installed_version(check.package):<14}{mark:<15}{remark}"


def main() -> int:
    warnings.simplefilter("ignore")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(f"{'component':<19}{'version':<14}{'works':<15}remark", flush=True)
    failed = []
    for check in CHECKS:
        good, line = row(check)
        print(line, flush=True)
        if not good:
            failed.append(check.name)
    if failed:
        print(
            f"check_install: error: {', '.join(failed)} failed; run `make clean-env setup` to reinstall",
            file=sys.stderr,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
