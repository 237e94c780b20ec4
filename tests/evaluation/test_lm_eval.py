"""MedMCQA as lm-evaluation-harness scores it: the same rows, the same model, the same choices."""

import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from harness.config.schema import ModelConfig
from harness.models.loading import load_model

pytest.importorskip("lm_eval", reason="lm-eval 0.4.13 is not installed")
sys.path.insert(0, str(ROOT / "benchmarks"))
from lm_eval_medmcqa import compare

ROWS: list[dict[str, Any]] = [
    {
        "id": f"row-{i}",
        "question": question,
        **dict(zip(("opa", "opb", "opc", "opd"), options, strict=True)),
        "cop": i % 4,
    }
    for i, (question, options) in enumerate(
        [
            ("Which vitamin is made in the skin?", ("A", "B12", "C", "D")),
            ("A 40-year-old man has chest pain; the next step is:", ("ECG", "Rest", "CT", "None")),
            ("Café au lait spots are seen in ", ("NF-1", "  ", "Marfan's", "a, b & c")),
            ("Drug of choice?\nPatient is pregnant", ("x" * 200, "Heparin", "β-blocker", "")),
            ("All except", ("Answer: A", "Choices:", "D. none", "…")),
            ("The commonest site of fracture is the clavicle's", ("1/3", "2/3", "mid", "none")),
        ]
    )
]


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)


@pytest.mark.parametrize("shape", ["tiny-llama", "tiny-gpt2"])
@pytest.mark.parametrize("use_chat_template", [False, True])
def test_choices_are_those_of_lm_eval(shape: str, use_chat_template: bool) -> None:
    loaded = load_model(ModelConfig(source="random", shape=shape, dtype="float32", device="cpu"))
    found = compare(loaded.model, loaded.tokenizer, ROWS, use_chat_template=use_chat_template)
    assert found.same_choices == found.same_normalised_choices == found.examples == len(ROWS)
    assert found.accuracy == found.lm_eval_accuracy
    assert found.accuracy_norm == found.lm_eval_accuracy_norm
    assert found.largest_difference < 1e-4


@pytest.mark.embedded
def test_choices_of_a_trained_model_are_those_of_lm_eval() -> None:
    loaded = load_model(ModelConfig(dtype="float32", device="cpu"))
    found = compare(loaded.model, loaded.tokenizer, ROWS, use_chat_template=False)
    assert found.same_choices == found.examples
    assert found.largest_difference < 1e-3
