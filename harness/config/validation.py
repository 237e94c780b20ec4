"""Checks every value that can be checked without reading data or weights."""

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import harness.config.task_package  # noqa: F401  (before tasks)
from harness.config.catalog import METHODS, check_target_set
from harness.config.schema import (
    TUNING_SETTINGS,
    AdapterConfig,
    Config,
    LatencyConfig,
    ModelConfig,
    TaskConfig,
)
from harness.config.target_sets import order_roles, parse_target_set
from harness.errors import UserError
from harness.records.record import TUNED
from tasks.custom.formats import FORMATS, is_dataset_info
from tasks.custom.metrics import DECIMALS
from tasks.files import FORMATS as FILE_FORMATS

CHOICES: dict[str, tuple[str | None, ...]] = {
    "model.source": ("embedded", "hub", "local", "random"),
    "model.dtype": ("auto", "bfloat16", "float16", "float32"),
    "model.attention": ("auto", "sdpa", "eager", "flash_attention_2"),
    "model.chat_template": ("auto", "off"),
    "model.generation": ("greedy", "checkpoint"),
    "task.source": ("hub", "local", "embedded", "auto"),
    "task.on_bad_row": ("fail", "skip"),
    "task.truncation": (None, "head", "head_tail"),
    "task.choose_by": ("likelihood", "generation"),
    "task.format": (None, *FORMATS),
    "task.decimal": (None, *DECIMALS),
    "adapter.method": tuple(METHODS),
    "adapter.activation": (None, "gelu", "relu", "silu", "tanh"),
    "adapter.budget": (None, "equal_rank", "equal_params", "equal_latency"),
    "adapter.alpha_policy": ("ratio", "fixed", "root"),
    "latency.adapter_dtype": ("auto", "base"),
    "latency.cache": ("dynamic", "static"),
    "latency.compile": ("off", "default", "reduce-overhead"),
    "train.schedule": ("cosine", "linear", "constant"),
    "train.tuning": ("grid", "halving"),
}


# key -> (lowest, highest, whether the lowest itself is allowed)
RANGES: dict[str, tuple[float, float, bool]] = {
    "adapter.rank": (1, 65536, True),
    "adapter.alpha": (0, math.inf, False),
    "adapter.dropout": (0, 1, True),
    "adapter.learning_rate": (0, math.inf, False),
    "adapter.learning_rate_ratio": (1, math.inf, True),
    "adapter.rho": (1, math.inf, True),
    "adapter.sample_examples": (1, math.inf, True),
    "adapter.initial_rank": (1, 65536, True),
    "adapter.allocate_from": (0, 1, True),
    "adapter.allocate_until": (0, 1, True),
    "adapter.orthogonality": (0, math.inf, True),
    "adapter.virtual_tokens": (1, 65536, True),
    "adapter.encoder_width": (1, 65536, True),
    "train.tuning_rates": (3, 99, True),
    "train.tuning_most": (3, 99, True),
    "train.tuning_seed": (0, 2**32 - 1, True),
    "train.validation_examples": (1, math.inf, True),
    "train.epochs": (0, math.inf, False),
    "train.max_steps": (1, math.inf, True),
    "train.batch_size": (1, math.inf, True),
    "train.gradient_accumulation": (1, math.inf, True),
    "train.max_tokens_per_pass": (1, math.inf, True),
    "train.warmup_ratio": (0, 1, True),
    "train.weight_decay": (0, math.inf, True),
    "train.max_grad_norm": (0, math.inf, False),
    "task.train_examples": (1, math.inf, True),
    "task.test_examples": (1, math.inf, True),
    "task.max_prompt_tokens": (16, math.inf, True),
    "task.max_completion_tokens": (1, math.inf, True),
    "task.data_seed": (0, 2**32 - 1, True),
    "evaluation.batch_size": (1, math.inf, True),
    "evaluation.max_tokens_per_batch": (1, math.inf, True),
    "latency.batch_size": (1, math.inf, True),
    "latency.prompt_tokens": (1, math.inf, True),
    "latency.output_tokens": (1, math.inf, True),
    "latency.max_output_tokens": (1, math.inf, True),
    "latency.half_width": (0, math.inf, False),
    "latency.margin": (0, math.inf, False),
    "latency.min_rounds": (1, math.inf, True),
    "latency.max_rounds": (1, math.inf, True),
    "latency.min_processes": (1, math.inf, True),
    "latency.max_seconds": (0, math.inf, False),
    "race.tolerance": (0, 1, False),
    "race.max_seeds": (2, 32, True),
    "race.max_runs": (1, math.inf, True),
    "race.hours": (0, math.inf, False),
    "seed": (0, 2**32 - 1, True),
}


READ_BY_SOURCE: dict[str, dict[str, tuple[str, ...]]] = {
    "model": {
        "embedded": (),
        "local": ("path",),
        "hub": ("path", "revision"),
        "random": ("shape",),
    },
    "task": {
        "embedded": (),
        # A dataset_info.json has several sets, told apart by name.
        "local": ("path", "encoding", "id_column", "subset"),
        "hub": ("id_column", "dataset", "subset", "revision"),
        "auto": ("path", "encoding", "id_column", "dataset", "subset", "revision"),
    },
}
"""Section -> source -> what of the settings that say where to read is read there."""


READ_UNDER: dict[str, tuple[str, str | None]] = {
    **dict.fromkeys(
        ("task.choices", "task.split_columns", "task.reasoning", "task.decimal"),
        ("task.metric", None),
    ),
    **dict.fromkeys(("task.cut_column", "task.optional_columns"), ("task.metric", None)),
    **dict.fromkeys(("adapter.budget_set", "adapter.alpha_policy"), ("adapter.budget", None)),
    "adapter.budget_study": ("adapter.budget", None),
    "model.chat_template_kwargs": ("model.chat_template", "auto"),
    **{f"train.{name}": ("train.learning_rate", TUNED) for name in TUNING_SETTINGS},
}
"""Setting -> the one without which it is not read, and the value that takes; None is any but null.
"""


def validate(config: Config) -> None:
    """Check every value that can be checked without reading data or weights."""
    for key, allowed in CHOICES.items():
        value = _value(config, key)
        if value not in allowed:
            listed = ", ".join(choice for choice in allowed if choice is not None)
            raise UserError(f"{key} is {value!r}; expected one of {listed}")
    for key, (lowest, highest, inclusive) in RANGES.items():
        number = _value(config, key)
        if number is None:
            continue
        above = number >= lowest if inclusive else number > lowest
        if not (math.isfinite(number) and above and number <= highest):
            bound = f"at least {lowest}" if inclusive else f"greater than {lowest}"
            upper = "" if math.isinf(highest) else f" and at most {highest}"
            raise UserError(f"{key} is {number}; expected a number {bound}{upper}")
    check_target_set(config.adapter.method, config.roles)
    refuse_unread_places("model", config.model)
    refuse_unread_places("task", config.task)
    _refuse_unread(config)
    _validate_model(config.model)
    _validate_adapter(config)
    _validate_rate(config)
    _validate_task(config.task)
    _validate_latency(config.latency)
    _validate_study(config)
    if config.train.gradient_accumulation > config.train.batch_size:
        raise UserError(
            f"train.gradient_accumulation is {config.train.gradient_accumulation}; expected at "
            f"most train.batch_size, {config.train.batch_size}: it splits each step"
        )


def check_size(variables: Mapping[str, Any]) -> None:
    """Raise UserError for a `variables.size` that is none of the experiment's `variables.sizes`."""
    size, sizes = variables.get("size"), variables.get("sizes")
    if size is not None and sizes is not None and size not in sizes:
        raise UserError(f"variables.size is {size!r}; expected one of {', '.join(map(str, sizes))}")


def _value(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def refuse_unread_places(section: str, values: ModelConfig | TaskConfig) -> None:
    """Raise UserError for a place to read from that the section's source does not look at.

    What is read instead would pass for what was asked for.
    """
    readers = READ_BY_SOURCE[section]
    for name in dict.fromkeys(itertools.chain(*readers.values())):
        value = getattr(values, name)
        if value is None or name in readers[values.source]:
            continue
        group = section if section == "model" else f"{section}.source"
        able = [f"{group}={source}" for source, names in readers.items() if name in names]
        raise UserError(
            f"{section}.{name} is {value}, but {section}.source is {values.source}, which does not "
            f"read it; add {' or '.join(able)}, or leave {section}.{name} out"
        )


def _refuse_unread(config: Config) -> None:
    """Raise UserError for a setting that was changed and that nothing reads."""
    default = Config()
    for key, (reader, needed) in READ_UNDER.items():
        value, found = _value(config, key), _value(config, reader)
        is_read = found is not None if needed is None else found == needed
        if is_read or value == _value(default, key):
            continue
        remedy = f"{reader}={needed}" if needed else reader
        raise UserError(
            f"{key} is {value}, but {reader} is {'not set' if found is None else found}, and "
            f"nothing else reads it; set {remedy}, or leave {key} out"
        )


def _validate_model(model: ModelConfig) -> None:
    needed = {"hub": "path", "local": "path", "random": "shape"}.get(model.source)
    if needed and not getattr(model, needed):
        example = {"hub": "Qwen/Qwen2.5-0.5B", "local": "/models/mine", "random": "llama-3-8b"}
        raise UserError(
            f"model.{needed} is not set; model={model.source} needs it, for example "
            f"model.{needed}={example[model.source]}"
        )
    if model.source == "local" and not (Path(str(model.path)) / "config.json").is_file():
        raise UserError(
            f"model.path is {model.path}: no config.json found; expected a folder written by "
            "save_pretrained"
        )
    if model.roles:
        order_roles(model.roles)


SHARED_SETTINGS = (
    *("method", "learning_rate", "budget", "budget_set", "budget_study", "alpha_policy"),
)
"""Keys of `adapter` that do not belong to one method or another."""


def _validate_adapter(config: Config) -> None:
    adapter = config.adapter
    method = METHODS[adapter.method]
    for name, value in dataclasses.asdict(adapter).items():
        if name in SHARED_SETTINGS or (value is not None) == (name in method.settings):
            continue
        has = ", ".join(method.settings) or "none"
        raise UserError(
            f"adapter.{name} is {value}, but adapter.method {adapter.method} "
            + ("needs it" if value is None else f"has no such setting (it has: {has})")
            + f"; choose adapter={adapter.method}, which sets the matching options"
        )
    if config.train.gradient_checkpointing and not method.takes_checkpointing:
        raise UserError(
            f"train.gradient_checkpointing is on, but adapter.method {adapter.method} needs the "
            "cache that checkpointing disables; turn it off"
        )
    _validate_allocation(adapter)
    _validate_budget(adapter)


def _validate_budget(adapter: AdapterConfig) -> None:
    if adapter.budget in (None, "equal_rank"):
        return
    if "rank" not in METHODS[adapter.method].settings:
        raise UserError(
            f"adapter.budget is {adapter.budget}, but adapter.method {adapter.method} has no rank "
            "to adjust; remove adapter.budget"
        )
    check_target_set(adapter.method, parse_target_set(adapter.budget_set).roles)
    if adapter.budget == "equal_latency" and not adapter.budget_study:
        raise UserError(
            "adapter.budget is equal_latency, but adapter.budget_study is not set; expected the "
            "folder of a latency study, for example one made by python -m harness.latency "
            "target_modules=q,k,v,o_proj,fc1,fc2 adapter.rank=4,64"
        )
    if adapter.budget == "equal_latency" and not METHODS[adapter.method].is_packable:
        raise UserError(
            f"adapter.budget is equal_latency, but adapter.method is {adapter.method}; latency "
            "studies measure LoRA only: use adapter.budget=equal_params"
        )


def _validate_allocation(adapter: AdapterConfig) -> None:
    first, last = adapter.allocate_from, adapter.allocate_until
    if first is None or last is None or adapter.rank is None or adapter.initial_rank is None:
        return
    if first >= last:
        raise UserError(
            f"adapter.allocate_from is {first} and adapter.allocate_until is {last}; expected the "
            "first to be smaller: ranks move between the two"
        )
    shrinks = adapter.method == "adalora"
    if adapter.initial_rank < adapter.rank if shrinks else adapter.initial_rank > adapter.rank:
        bound = "at least" if shrinks else "at most"
        raise UserError(
            f"adapter.initial_rank is {adapter.initial_rank} and adapter.rank is {adapter.rank}; "
            f"expected {bound} adapter.rank: {METHODS[adapter.method].title} "
            f"{'removes' if shrinks else 'adds'} ranks during training"
        )


def _validate_rate(config: Config) -> None:
    train = config.train
    rate = train.learning_rate
    if rate != TUNED:
        is_number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
        if not (is_number and math.isfinite(rate) and rate > 0):
            raise UserError(
                f"train.learning_rate is {rate}; expected a number greater than 0, or {TUNED}"
            )
        return
    if train.tuning_study is not None and not Path(train.tuning_study, "tuning.json").is_file():
        raise UserError(
            f"train.tuning_study is {train.tuning_study}, which holds no tuning.json; expected the "
            "folder of a study with tuned rates, such as results/reference"
        )
    if train.tuning_most < train.tuning_rates:
        raise UserError(
            f"train.tuning_most is {train.tuning_most}; expected at least train.tuning_rates, "
            f"{train.tuning_rates}: the grid can only grow"
        )
    if train.tuning_seed == config.seed:
        raise UserError(
            f"train.tuning_seed and seed are both {train.tuning_seed}; expected different seeds: a "
            "learning rate is tuned with one seed and evaluated with others"
        )


def _validate_task(task: TaskConfig) -> None:
    if task.source == "local" and not task.path:
        raise UserError(
            "task.path is not set; task.source=local needs a file, or a folder with train and test "
            f"files, in {FILE_FORMATS}, for example task.path=data/medmcqa"
        )
    if task.source == "local" and not Path(str(task.path)).expanduser().exists():
        raise UserError(
            f"task.path is {task.path}: no such file or folder; expected {FILE_FORMATS}"
        )
    if task.source == "auto" and task.path and task.dataset:
        raise UserError(
            f"task.path is {task.path} and task.dataset {task.dataset}; expected one of them: "
            "under task.source=auto either names the data"
        )
    _validate_custom(task)
    if task.encoding is not None:
        try:
            "a".encode(task.encoding)
        except (LookupError, UnicodeError) as error:
            raise UserError(
                f"task.encoding is {task.encoding!r}; expected an encoding that Python knows, such "
                "as utf-8, cp1252 or utf-16"
            ) from error


def _validate_custom(task: TaskConfig) -> None:
    for key in ("optional_columns", "split_columns"):
        columns = getattr(task, key)
        listed = columns if isinstance(columns, list) else [columns or ""]
        if not all(isinstance(each, str) for each in listed):
            raise UserError(f"task.{key} is {columns!r}; expected column names, such as [customer]")
    if not re.search(r"\w", task.name):
        raise UserError(f"task.name is {task.name!r}; expected a name, such as tickets")
    has_format = task.format is not None or is_dataset_info(task.path)
    if task.prompt is None and not has_format:
        if task.answer is not None or task.metric is not None:
            raise UserError(
                "task.answer and task.metric are for custom tasks; set task.prompt, or task.format"
            )
        return
    needed = {"metric": task.metric} | ({} if has_format else {"answer": task.answer})
    if None in needed.values():
        missing = " and ".join(f"task.{key}" for key, value in needed.items() if value is None)
        what = "task.format" if task.prompt is None else "task.prompt"
        if is_dataset_info(task.path):
            what = "task.path"
        raise UserError(f"{what} is set, but {missing} is not; a custom task needs it")
    if task.format is not None and is_dataset_info(task.path):
        raise UserError(
            f"task.format is {task.format}, but {task.path} names the format of its data sets; "
            "leave task.format out"
        )
    if task.reasoning is not None and task.constrained_decoding:
        raise UserError(
            "task.constrained_decoding is on, but task.reasoning is set, which no schema holds; "
            "leave one of the two out"
        )
    if task.reasoning is not None and task.metric == "choice" and task.choose_by == "likelihood":
        raise UserError(
            "task.reasoning is set, but task.choose_by is likelihood, which compares the options "
            "without a reasoning; set task.choose_by=generation"
        )


def _validate_latency(latency: LatencyConfig) -> None:
    if latency.compile != "off" and latency.cache != "static":
        raise UserError(
            f"latency.compile is {latency.compile!r} and latency.cache is {latency.cache!r}; a "
            "compiled step needs tensors of fixed size: set latency.cache=static"
        )


def _validate_study(config: Config) -> None:
    name = config.study
    if not name or Path(name).name != name or name in (".", ".."):
        raise UserError(f"study is {name!r}; expected a plain folder name, such as my-study")
