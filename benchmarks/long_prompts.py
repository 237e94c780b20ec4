"""Training and scoring on prompts of 8,192 tokens: does it fit, and in how much memory?

    python benchmarks/long_prompts.py [--prompt-tokens 8064]

Runs one variant (all roles) on documents longer than the prompt may be, made of the embedded ones
end to end, with and without gradient checkpointing, and writes the peak memory of the process tree
to benchmarks/results/long-prompts.json.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from quickstart import run_measured

from harness import load_results
from tasks import TASKS

RESULTS = Path(__file__).resolve().parent / "results" / "long-prompts.json"
EXAMPLES = {"train": 2, "test": 1}
ARMS = {"default": "false", "gradient_checkpointing": "true"}
DOCUMENTS = 25
"""Embedded documents in one long one: about 20,000 tokens."""


def write_rows(folder: Path) -> None:
    for split, count in EXAMPLES.items():
        rows = TASKS["govreport"].embedded(split, 0)  # type: ignore[misc,arg-type]
        lines = []
        for number in range(count):
            part = [rows[(number * DOCUMENTS + i) % len(rows)] for i in range(DOCUMENTS)]
            report = f"Report {number}\n\n" + "\n\n".join(row["report"] for row in part)
            lines.append(json.dumps({"report": report, "summary": part[0]["summary"]}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt-tokens", type=int, default=8064)
    prompt_tokens = parser.parse_args().prompt_tokens
    settings = [
        "task=govreport", "task.source=local", "target_modules=all", "latency=off",
        f"task.max_prompt_tokens={prompt_tokens}", "task.max_completion_tokens=128",
    ]  # fmt: skip
    report = {
        "command": " ".join(["python -m harness", *settings, "task.path=<rows>"]),
        "prompt_tokens": prompt_tokens,
        **{arm: measure(settings, value) for arm, value in ARMS.items()},
    }
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


def measure(settings: list[str], checkpointing: str) -> dict[str, object]:
    """One run in a process and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder))
        own = [
            f"task.path={folder}", f"results_dir={folder}/results",
            f"train.gradient_checkpointing={checkpointing}",
        ]  # fmt: skip
        command = [sys.executable, "-m", "harness", *settings, *own]
        _, peak_bytes = run_measured(command)
        results = load_results(f"{folder}/results/default")
    run = results[results.target_set == "all"].iloc[0]
    return {
        "status": run["status"],
        "peak_memory_bytes": peak_bytes,
        "truncated_tokens_ratio": round(float(run["truncated_tokens_ratio"]), 3),
        "cpu": run["cpu"],
        "torch": run["torch"],
    }


if __name__ == "__main__":
    main()
