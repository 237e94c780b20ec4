"""MedMCQA's rows scored by lm-evaluation-harness and by this harness, on one and the same model.

    python benchmarks/lm_eval_medmcqa.py --examples 200

Writes, for plain prompts and for the chat template, how many choices are the same, both accuracies
and the largest difference of a log-likelihood ratio, to benchmarks/results/lm-eval-medmcqa.json.
"""

import argparse
import json
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import PreTrainedTokenizerBase

from harness.config.schema import EvaluationConfig
from harness.data.encoding import EncodingRules, encode_examples
from harness.evaluation.generation import WritingRules
from harness.evaluation.respondents import Respondents
from harness.evaluation.scoring import score_pack
from harness.training.packed_model import BASE_ROW, Pack
from tasks import TASKS

RESULTS = Path(__file__).resolve().parent / "results" / "lm-eval-medmcqa.json"


@dataclass(frozen=True)
class Comparison:
    examples: int
    same_choices: int
    """Examples whose likeliest option is the same in both."""
    same_normalised_choices: int
    """The same of acc_norm's option."""
    lm_eval_accuracy: float
    accuracy: float
    lm_eval_accuracy_norm: float
    accuracy_norm: float
    largest_difference: float
    """Of any option's log-likelihood, against the example's first option."""


def compare(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[dict[str, Any]],
    *,
    use_chat_template: bool,
) -> Comparison:
    """Score `rows` (MedMCQA's columns) both ways."""
    theirs = _score_by_lm_eval(model, tokenizer, rows, use_chat_template)
    task = TASKS["medmcqa"]
    rules = EncodingRules(
        truncation="head",
        max_prompt_tokens=2048,
        max_completion_tokens=1,
        context_length=4096,
        use_chat_template=use_chat_template,
    )
    encoded = encode_examples([task.to_example(row) for row in rows], tokenizer, rules)
    (ours,) = score_pack(
        Respondents(Pack(model, []), [BASE_ROW], tokenizer),
        encoded,
        task,
        limits=EvaluationConfig(batch_size=8),
        writing=WritingRules.of(model, tokenizer, max_new_tokens=1),
    )
    by_id = {sample["doc"]["id"]: sample for sample in theirs}
    samples = [by_id[item.id] for item in ours]
    likelihoods = np.array(
        [[response[0] for response in sample["filtered_resps"]] for sample in samples], dtype=float
    )
    own = np.array([item.log_likelihoods for item in ours])
    difference = (likelihoods - likelihoods[:, :1]) - (own - own[:, :1])
    letters = np.array(list("ABCD"))
    chosen = letters[likelihoods.argmax(axis=1)]
    return Comparison(
        examples=len(ours),
        same_choices=sum(a == b.prediction for a, b in zip(chosen, ours, strict=True)),
        same_normalised_choices=sum(
            sample["acc_norm"] == item.scores["accuracy_norm"]
            for sample, item in zip(samples, ours, strict=True)
        ),
        lm_eval_accuracy=_mean(sample["acc"] for sample in samples),
        accuracy=_mean(item.scores["accuracy"] for item in ours),
        lm_eval_accuracy_norm=_mean(sample["acc_norm"] for sample in samples),
        accuracy_norm=_mean(item.scores["accuracy_norm"] for item in ours),
        largest_difference=float(abs(difference).max()),
    )


def _score_by_lm_eval(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[dict[str, Any]],
    use_chat_template: bool,
) -> list[dict[str, Any]]:
    """Its own `medmcqa` task, with the rows in a local file in place of the download."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        own = Path(lm_eval.__file__).parent / "tasks" / "medmcqa" / "medmcqa.yaml"
        task = {
            "include": str(own),
            "dataset_path": "json",
            "dataset_kwargs": {
                "data_files": {"train": str(path), "validation": str(path)},
                "cache_dir": folder,
            },
        }
        (Path(folder) / "medmcqa.yaml").write_text(json.dumps(task), encoding="utf-8")
        result = lm_eval.simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, max_length=4096),
            tasks=[f"{folder}/medmcqa.yaml"],
            # Without its thousands of other tasks, which take long to index.
            task_manager=TaskManager(include_defaults=False),
            num_fewshot=0,
            log_samples=True,
            bootstrap_iters=0,
            apply_chat_template=use_chat_template,
        )
    samples: list[dict[str, Any]] = result["samples"]["medmcqa"]
    return samples


def _mean(values: Any) -> float:
    return float(np.mean([float(value) for value in values]))


def main() -> None:
    from harness.config.schema import ModelConfig
    from harness.models.loading import load_model

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=200)
    examples = parser.parse_args().examples
    loaded = load_model(ModelConfig(dtype="float32", device="cpu"))
    rows = [dict(row) for row in TASKS["medmcqa"].embedded("test", 0)[:examples]]  # type: ignore[misc]
    results = {
        name: asdict(
            compare(loaded.model, loaded.tokenizer, rows, use_chat_template=name == "chat template")
        )
        for name in ("plain prompt", "chat template")
    }
    versions = {name: version(name) for name in ("lm-eval", "torch", "transformers")}
    report = {
        "command": f"python benchmarks/lm_eval_medmcqa.py --examples {examples}",
        "model": "SmolLM2-135M-Instruct, fp32, CPU",
        "rows": TASKS["medmcqa"].embedded_name,
        "machine": platform.machine(),
        "versions": versions,
        **results,
    }
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
