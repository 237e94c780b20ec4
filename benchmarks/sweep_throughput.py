"""How much faster is the sweep of a task than one process a variant of stock tools, in one dtype?

    python benchmarks/sweep_throughput.py --task invoice_ocr --rounds 3

The harness's arm is its own command. The stock arm is what a user writes instead: for the base and
for each target set a process that loads the model, trains PEFT's LoRA with transformers' Trainer,
and scores the test examples with `generate`, or with one forward pass where a choice is scored.
Both arms compute in the same dtype (`--dtype`, by default what the harness takes on this machine),
get the same examples in the same order and the same recipe, and are asked for the same scores; the
stock arm gets its examples tokenized already. Rounds run the arms in turn.

Figures go to benchmarks/results/sweep-throughput-<task>-<device>-<dtype>.json: seconds of both arms
and every round, their ratio with its range, the achieved operations a second of the harness's
training, and the instructions that the CPU has and the libraries use. Where the libraries are held
to fewer instructions than the CPU has, name the dtype as well: `auto` goes by the CPU.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from harness.analysis.results import load_results
from harness.config.composing import compose
from harness.config.schema import Config
from harness.models.devices import (
    cpu_multiplies_bfloat16,
    describe_environment,
    resolve_device,
    resolve_dtype,
)
from harness.models.loading import load_model
from harness.sweep.plan import VariantPlan, plan_sweep

RESULTS = Path(__file__).resolve().parent / "results"
SETS = ("qkv", "o_proj", "qkv+o_proj", "o_proj+fc2", "all")
HOLDING = ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")
QUICKSTART = ("experiment=quickstart", "latency.enabled=false")


@dataclass(frozen=True)
class Sweep:
    """The quickstart's sweep of one task."""

    task: str
    size: str
    """One of the quickstart's sizes, such as `l`."""
    dtype: str

    def make_overrides(self, target_set: str, results_dir: Path) -> list[str]:
        return [
            *QUICKSTART, f"task={self.task}", f"variables.size={self.size}",
            f"model.dtype={self.dtype}", f"target_modules={target_set}",
            f"results_dir={results_dir}",
        ]  # fmt: skip


def dump_work(plan: VariantPlan, path: Path) -> None:
    """Write what a stock process needs: the steps' examples, the test set, the recipe."""
    config, prepared = plan.config, plan.prepared
    ordered = [prepared.train[i] for step in plan.steps for i in step]
    work = {
        "train": [[item.prompt_ids, item.completion_ids] for item in ordered],
        "test": [[item.prompt_ids, item.choice_ids, item.example.id] for item in prepared.test],
        "batch_size": config.train.batch_size,
        "steps": len(plan.steps),
        "learning_rate": config.train.learning_rate,
        "schedule": config.train.schedule,
        "max_grad_norm": config.train.max_grad_norm,
        "rank": config.adapter.rank,
        "alpha": config.adapter.alpha,
        "eval_batch_size": config.evaluation.batch_size,
        "max_new_tokens": config.task.max_completion_tokens,
        "attention": None if config.model.attention == "auto" else config.model.attention,
        "seed": config.seed,
    }
    path.write_text(json.dumps(work))


def run_stock(work_file: str, target_set: str, dtype: str) -> None:
    """One process of a stock arm."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

    from harness.models.embedded import embedded_folder

    work = json.loads(Path(work_file).read_text())
    folder = embedded_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation=work["attention"]
    )
    if target_set != "base":
        names = {
            "qkv": ["q_proj", "k_proj", "v_proj"],
            "o_proj": ["o_proj"],
            "qkv+o_proj": ["q_proj", "k_proj", "v_proj", "o_proj"],
            "o_proj+fc2": ["o_proj", "down_proj"],
            "all": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        }[target_set]
        adapter = LoraConfig(
            r=work["rank"],
            lora_alpha=work["alpha"],
            target_modules=names,
            task_type="CAUSAL_LM",
        )
        torch.manual_seed(work["seed"])
        model = get_peft_model(model, adapter)

        def collate(items: list[Any]) -> dict[str, torch.Tensor]:
            width = max(len(prompt) + len(completion) for prompt, completion in items)
            ids = torch.full((len(items), width), int(tokenizer.pad_token_id or 0))
            mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
            for row, (prompt, completion) in enumerate(items):
                length = len(prompt) + len(completion)
                ids[row, :length] = torch.tensor(prompt + completion)
                mask[row, :length] = 1
                labels[row, len(prompt) : length] = torch.tensor(completion)
            return {"input_ids": ids, "attention_mask": mask, "labels": labels}

        class InOrder(Trainer):  # type: ignore[misc]
            def _get_train_sampler(self, *_: Any) -> Any:
                return torch.utils.data.SequentialSampler(work["train"])

        with tempfile.TemporaryDirectory() as output:
            arguments = TrainingArguments(
                output_dir=output,
                per_device_train_batch_size=work["batch_size"],
                max_steps=work["steps"],
                learning_rate=work["learning_rate"],
                lr_scheduler_type=work["schedule"],
                max_grad_norm=work["max_grad_norm"],
                weight_decay=0.0,
                report_to=[],
                save_strategy="no",
                logging_steps=1,
                disable_tqdm=True,
                remove_unused_columns=False,
                dataloader_pin_memory=False,
                use_cpu=not torch.cuda.is_available(),
            )
            trainer = InOrder(
                model=model, args=arguments, train_dataset=work["train"], data_collator=collate
            )
            trainer.train()
            model.save_pretrained(output)
    answers = score_stock(model.eval(), tokenizer, work)
    name_answers(Path(work_file), target_set, dtype).write_text(json.dumps(answers))


def name_answers(work_file: Path, target_set: str, dtype: str) -> Path:
    """Where a stock process leaves its answers: test example's id -> number of choice, or text."""
    return work_file.with_name(f"{work_file.stem}-{target_set}-{dtype}.json")


@torch.inference_mode()
def score_stock(model: Any, tokenizer: Any, work: dict[str, Any]) -> dict[str, Any]:
    """Answer every test example, in batches padded on the left."""
    answers: dict[str, Any] = {}
    order = sorted(work["test"], key=lambda item: -len(item[0]))
    size = work["eval_batch_size"]
    pad = int(tokenizer.pad_token_id or 0)
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        width = max(len(prompt) for prompt, _, _ in batch)
        ids = torch.full((len(batch), width), pad, device=model.device)
        mask = torch.zeros_like(ids)
        for row, (prompt, _, _) in enumerate(batch):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        if batch[0][1]:
            logits = model(input_ids=ids, attention_mask=mask).logits[:, -1].float()
            values = logits.log_softmax(-1)
            for row, (_, choices, name) in enumerate(batch):
                likelihoods = [float(values[row, tokens[0]]) for tokens in choices]
                answers[name] = likelihoods.index(max(likelihoods))
            continue
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=work["max_new_tokens"],
            do_sample=False,
            pad_token_id=pad,
        )
        texts = tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
        for (_, _, name), text in zip(batch, texts, strict=True):
            answers[name] = text.strip()
    return answers


def time_stock(work_file: Path, dtype: str) -> float:
    """Seconds of one process for the base and each target set, one after another."""
    started = time.perf_counter()
    for target_set in ("base", *SETS):
        command = [sys.executable, __file__, "--stock", str(work_file), target_set, dtype]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def time_harness(sweep: Sweep, folder: Path) -> tuple[float, float, int]:
    """Seconds of the harness's command, of its processes' training, and processes at a time."""
    overrides = sweep.make_overrides(",".join(SETS), folder)
    started = time.perf_counter()
    command = [sys.executable, "-m", "harness", "--multirun", *overrides]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    results = load_results(folder / "quickstart")
    trained = results[results["target_set"] != "base"]
    assert set(trained["status"]) == {"ok"}
    workers = json.loads((folder / "quickstart" / "plan.json").read_text())["workers"]
    return seconds, float(trained["train_seconds"].sum()), workers


def measure_peak(config: Config, threads: int) -> float:
    """Operations a second of a large matrix product, with a process's share of the threads."""
    device = resolve_device(config.model.device)
    size = 8192 if device.type == "cuda" else 1536
    left = torch.randn(
        size, size, device=device, dtype=resolve_dtype(config.model.dtype, config.model.device)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        (left @ left).sum().item()
        seconds.append(time.perf_counter() - started)
    torch.set_num_threads(before)
    return 2 * size**3 / min(seconds)


def count_operations(plan: VariantPlan) -> float:
    """Of one variant's training: 4N + 6P a token, and the head twice where there is a label.

    N are the projections' weights (a product forward, one backward through the activations), P the
    adapter's (one more, for its own gradient). Tokens that rows share count in each of them.
    """
    every = plan.modules.inside
    weights = sum(p.in_features * p.out_features for p in every)
    adapter = sum(p.count_parameters(plan.adapter.rank or 0) for p in plan.projections)
    items = [plan.prepared.train[i] for step in plan.steps for i in step]
    tokens = sum(item.length for item in items)
    labels = sum(len(item.completion_ids) for item in items)
    model = load_model(plan.config.model).model
    head = model.get_output_embeddings().weight.numel()
    return float((4 * weights + 6 * adapter) * tokens + 4 * head * labels)


def summarize(times: dict[str, list[float]]) -> dict[str, float]:
    """The stock arm's seconds over the harness's, round by round."""
    ratios = [a / b for a, b in zip(times["stock"], times["harness"], strict=True)]
    return {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}


def describe_kind() -> dict[str, Any]:
    """What decides how fast this machine multiplies."""
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "instructions_used_by_pytorch": torch.backends.cpu.get_cpu_capability(),
        "cpu_multiplies_bfloat16": cpu_multiplies_bfloat16(),
        "libraries_held_to": {name: os.environ[name] for name in HOLDING if name in os.environ},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="invoice_ocr")
    parser.add_argument("--size", default="l", help="one of the quickstart's sizes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--stock", nargs=3, metavar=("WORK", "SET", "DTYPE"))
    options = parser.parse_args()
    if options.stock:
        run_stock(*options.stock)
        return
    dtype = str(resolve_dtype(options.dtype, "auto")).removeprefix("torch.")
    sweep = Sweep(options.task, options.size, dtype)
    kind = describe_kind()
    print(json.dumps({"dtype": dtype, **kind}), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        configs: list[Config] = [compose(sweep.make_overrides(each, folder)) for each in SETS]
        plans = plan_sweep(configs).variants
        dump_work(plans[0], folder / "work.json")
        times: dict[str, list[float]] = {"harness": [], "stock": []}
        train_seconds, peaks = [], []
        for number in range(options.rounds):
            seconds, trained, workers = time_harness(sweep, folder / str(number))
            times["harness"].append(seconds)
            train_seconds.append(trained)
            peaks.append(measure_peak(configs[0], max(1, torch.get_num_threads() // workers)))
            times["stock"].append(time_stock(folder / "work.json", dtype))
            print({key: round(value[-1], 1) for key, value in times.items()}, flush=True)
    operations = sum(map(count_operations, plans))
    reached = operations / statistics.median(train_seconds)
    written = {
        **asdict(sweep),
        "kind": kind,
        "seconds": times,
        "stock_over_harness": summarize(times),
        "train_operations": operations,
        "processes_at_a_time": workers,
        "train_operations_per_second_of_a_process": reached,
        "matrix_product_operations_per_second_of_a_process": statistics.median(peaks),
        "share_of_the_limit": reached / statistics.median(peaks),
        "environment": describe_environment(torch.device("cpu")),
    }
    instructions = kind["instructions_used_by_pytorch"]
    on_cpu = f"{os.cpu_count()}-core-cpu-{instructions}"
    device = kind["device"] if torch.cuda.is_available() else on_cpu
    name = f"sweep-throughput-{options.task}-{device.lower().replace(' ', '-')}-{dtype}.json"
    (RESULTS / name).write_text(json.dumps(written, indent=2, default=str) + "\n")
    print(json.dumps({key: written[key] for key in written if key != "environment"}, indent=2))


if __name__ == "__main__":
    main()
