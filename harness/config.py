"""The configuration's schema, and its way from Hydra's dictionaries to typed values.

Everything past this module takes plain values. With `__main__` and the Hydra plugins, this is the
only module that knows Hydra.
"""

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness import records
from harness.data_digest import digest_data
from harness.errors import UserError, explain
from harness.methods.catalog import METHODS, check_target_set
from harness.records import TUNED
from harness.target_sets import label_roles, order_roles, parse_target_set


@dataclass(frozen=True)
class ModelConfig:
    source: str = "embedded"
    """`embedded`, `hub`, `local` or `random`."""
    name: str | None = None
    """Label in tables; made from the path or the shape where it is null."""
    path: str | None = None
    """Hub id (`source: hub`) or folder (`source: local`)."""
    revision: str | None = None
    """Commit, tag or branch of a hub model."""
    shape: str | None = None
    """Named shape (`source: random`)."""
    dtype: str = "auto"
    """`auto` (bf16 where the hardware has it), `bfloat16`, `float16` or `float32`."""
    attention: str = "auto"
    """`auto` (sdpa where the model has it; in training and scoring on a CPU what computes the same
    faster), `sdpa`, `eager` or `flash_attention_2`."""
    device: str = "auto"
    """`auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, `mps`."""
    roles: dict[str, Any] = field(default_factory=dict)
    """Role -> path inside a block, for architectures that the harness does not know."""
    chat_template: str = "auto"
    """`auto` (the tokenizer's own, where it has one) or `off` (prompts are plain text)."""


@dataclass(frozen=True)
class TargetModulesConfig:
    roles: dict[str, bool] = field(default_factory=dict)
    """Role -> whether it is adapted. A mapping, so that Hydra's merge of two choices is a union."""


@dataclass(frozen=True)
class TaskConfig:
    name: str = "medmcqa"
    source: str = "embedded"
    """`hub`, `local`, `embedded`, or `auto`: what path and dataset say, else embedded or hub."""
    path: str | None = None
    """Folder or file of JSONL, Parquet or CSV (`source: local`); with `auto` also a hub id."""
    dataset: str | None = None
    """Hub id in place of the task's own (`source: hub`)."""
    subset: str | None = None
    """Configuration name of a hub data set that has several."""
    revision: str | None = None
    """Commit of the hub data set."""
    train_examples: int = 1000
    test_examples: int = 500
    max_prompt_tokens: int = 1024
    """Longer prompts are cut by the task's stated rule, and counted."""
    max_completion_tokens: int = 512
    """Training completions are cut here, and generation stops here."""
    truncation: str | None = None
    """Which part of a document stays where it does not fit: `head`, `head_tail`, or null for the
    task's own rule."""
    choose_by: str = "likelihood"
    """How a task with fixed options is answered: `likelihood` of each option, or `generation`."""
    constrained_decoding: bool = False
    """Hold generated JSON to the schema of the training examples; costs time at every token."""
    prompt: str | None = None
    """A task of one's own: Jinja2 template over the columns."""
    answer: str | None = None
    """A task of one's own: column, or template."""
    metric: str | None = None
    """A task of one's own: `choice`, `exact`, `numeric`, `rouge` or `json_fields`."""
    choices: Any = None
    """A task of one's own, metric `choice`: the options, or the column that holds them."""
    cut_column: str | None = None
    """A task of one's own: column that loses text where a prompt does not fit."""
    split_columns: Any = None
    """A task of one's own: what rows on two sides of a split must not share."""
    on_bad_row: str = "fail"
    """`fail`, or `skip` with the count in the record."""
    data_seed: int = 0
    """Seed of splits, selection and generated data; shared by every variant."""
    held_back: int = 0
    """Rows of the training split that come after the training examples and are scored in place of
    the test split; filled in where learning rates are tuned, never set."""


@dataclass(frozen=True)
class AdapterConfig:
    """A method has some of these settings, named in `harness.methods.catalog`; the others are
    None."""

    method: str = "lora"
    rank: int | None = 8
    """Inner width of what is added: LoRA's r, a bottleneck's units."""
    alpha: float | None = 16.0
    dropout: float | None = 0.0
    learning_rate: float = 2e-4
    """Where `train.learning_rate` comes from unless it is set."""
    learning_rate_ratio: float | None = None
    """LoRA+: the rate of B over that of A."""
    rho: float | None = None
    """EVA: a projection's rank is at most so many times `rank`."""
    sample_examples: int | None = None
    """EVA, LoRA-GA: training examples that the initial weights are made from."""
    initial_rank: int | None = None
    """AdaLoRA, IncreLoRA: every projection's rank at the start; `rank` is the mean at the end."""
    allocate_from: float | None = None
    """AdaLoRA, IncreLoRA: share of the steps after which ranks begin to move."""
    allocate_until: float | None = None
    """AdaLoRA, IncreLoRA: share of the steps after which ranks stay."""
    orthogonality: float | None = None
    """AdaLoRA, IncreLoRA: weight of the penalty that keeps A's rows and B's columns orthogonal."""
    virtual_tokens: int | None = None
    """Prefix and prompt tuning: trained tokens before every prompt."""
    encoder_width: int | None = None
    """Prefix tuning: hidden units of the network that makes the prefix while it is trained."""
    activation: str | None = None
    """Bottleneck adapters: the function between the two products."""
    budget: str | None = None
    """What all sets are given as much of as `budget_set` has at `rank`: `equal_rank`,
    `equal_params` or `equal_latency`; null is equal rank too."""
    budget_set: str = "all"
    """Target set whose parameters or latency at `rank` are the budget."""
    budget_study: str | None = None
    """Latency study that timed every role at two ranks or more (`budget: equal_latency`)."""
    alpha_policy: str = "ratio"
    """What a budget's rank does to alpha: `ratio` (alpha / rank stays), `fixed` (alpha stays), or
    `root` (alpha grows with the root of the rank)."""

    @property
    def own_settings(self) -> dict[str, Any]:
        """What makes the adapter: the settings that its method has, and its budget."""
        values = dataclasses.asdict(self)
        keys = ["method", *METHODS[self.method].settings]
        if self.budget not in (None, "equal_rank"):
            keys += ["budget", "budget_set", "alpha_policy"]
        if self.budget == "equal_latency":
            keys.append("budget_study")
        return {key: values[key] for key in keys}


@dataclass(frozen=True)
class TrainConfig:
    learning_rate: Any = 2e-4
    """A number, or `tuned`: for each variant the best on examples held back from training."""
    tuning: str = "grid"
    """`grid`: every rate is trained to the end; `halving`: the worse half is dropped after a
    quarter of the steps, and half of the rest after half of them."""
    tuning_rates: int = 5
    """Rates of the first grid, half a decade apart around `adapter.learning_rate`."""
    tuning_most: int = 12
    """Rates at most, where the best one lies at an end and the grid grows."""
    tuning_seed: int = 1000
    """Seed of the grid's runs."""
    validation_examples: int = 64
    """Training rows that are held back to choose a rate."""
    epochs: float = 1.0
    max_steps: int | None = None
    """Optimizer steps at most; null trains all epochs."""
    batch_size: int = 8
    """Examples in an optimizer step."""
    gradient_accumulation: int = 1
    """Micro-batches that a step is cut into."""
    max_tokens_per_pass: int | None = None
    """Micro-batches are cut further to at most so many tokens, of all variants that train together,
    padding counted; null takes what is fastest on the device."""
    schedule: str = "cosine"
    """Decay after warm-up: `cosine`, `linear` or `constant`."""
    warmup_ratio: float = 0.1
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class EvaluationConfig:
    batch_size: int = 16
    max_tokens_per_batch: int = 16384
    """Batches are cut to at most so many tokens, padding and what is written counted."""


@dataclass(frozen=True)
class LatencyConfig:
    enabled: bool = True
    batch_size: int = 1
    prompt_tokens: int | None = None
    """Length of every timed prompt; null is the task's own median."""
    output_tokens: int | None = None
    """Forced output length; null is the task's own median, at most `max_output_tokens`."""
    max_output_tokens: int = 64
    merged: bool = True
    """Also time each variant with its update folded into the base weights."""
    mixed: bool = True
    """Also time a batch in which every row uses another adapter, where there is more than one."""
    adapter_dtype: str = "auto"
    """`auto` (PEFT's own: fp32 adapters on a half-precision base) or `base` (the base's)."""
    cache: str = "dynamic"
    """`dynamic`, or `static` (allocated beforehand, which torch.compile needs)."""
    compile: str = "off"
    """`off`, or torch.compile's mode for the decode step: `default`, `reduce-overhead` (CUDA graphs
    on a GPU). The prompt is read uncompiled."""
    half_width: float | None = None
    """Timing stops when every ratio's interval is this narrow; null is 0.01 on a GPU, else 0.02."""
    margin: float | None = None
    """Ratios this near to 1 are equivalent; null is half_width + 0.01."""
    min_rounds: int = 15
    """Rounds, over all processes, before timing may stop for its target."""
    max_rounds: int | None = None
    """Most rounds, over all processes."""
    min_processes: int = 3
    """Fresh processes before timing may stop for its target."""
    max_seconds: float = 300.0
    """Time for one point, or one task of a sweep; then what is not known stays unresolved."""
    fresh_processes: bool = True
    """Time in fresh processes; false times in the sweep's own, which is quicker and says nothing
    of how processes differ."""
    remeasure: bool = False
    """Time finished runs once more, as they stand: their adapters and scores are kept. No part of
    what makes a run."""


@dataclass(frozen=True)
class Config:
    model: ModelConfig = field(default_factory=ModelConfig)
    target_modules: TargetModulesConfig = field(default_factory=TargetModulesConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    seed: int = 0
    """Seed of adapter initialisation and data order."""
    study: str = "default"
    """Folder under `results_dir`."""
    results_dir: str = "results"
    data_digest: str | None = None
    """Content of local data files when the configuration was read; filled in, never set."""

    @property
    def model_name(self) -> str:
        if self.model.name:
            return self.model.name
        return Path(self.model.path or self.model.shape or self.model.source).name

    @property
    def roles(self) -> tuple[str, ...]:
        return order_roles(role for role, adapted in self.target_modules.roles.items() if adapted)

    @property
    def target_set(self) -> str:
        return label_roles(self.roles)

    @property
    def study_folder(self) -> Path:
        return Path(self.results_dir) / self.study

    @property
    def is_timed_again(self) -> bool:
        """Whether a run that is over is timed once more."""
        return self.latency.enabled and self.latency.remeasure

    @property
    def run_id(self) -> str:
        return records.make_run_id(
            self.model_name,
            self.task.name,
            self.target_set,
            self.adapter.method,
            self.seed,
            hash_values(self.identity),
        )

    @property
    def base_run_id(self) -> str:
        """Run id of the base that this variant is compared to: seed and recipe play no part."""
        kept = {
            key: self.identity[key]
            for key in ("model", "task", "data_digest", "evaluation", "latency")
        }
        return records.make_run_id(
            self.model_name, self.task.name, records.BASE, "none", 0, hash_values(kept)
        )

    @property
    def group(self) -> str:
        """Same for variants that can share one pass: base, task, and how batches are cut.

        Adapter, seed, rate, schedule and length of training may be each variant's own.
        """
        kept = ("model", "task", "data_digest", "evaluation", "latency")
        cut = ("batch_size", "gradient_accumulation", "max_tokens_per_pass")
        batches = {key: self.identity["train"][key] for key in (*cut, "gradient_checkpointing")}
        return hash_values({key: self.identity[key] for key in kept} | batches)

    @property
    def identity(self) -> dict[str, Any]:
        """What makes the run: the configuration without output paths, spelled canonically."""
        values = dataclasses.asdict(self)
        del values["study"], values["results_dir"], values["latency"]["remeasure"]
        values["model"]["name"] = self.model_name
        values["target_modules"] = self.target_set
        values["adapter"] = self.adapter.own_settings
        if self.train.learning_rate != TUNED:
            for key in TUNING_SETTINGS:
                del values["train"][key]
        if not self.task.held_back:
            del values["task"]["held_back"]
        return values

    def as_record(self) -> dict[str, Any]:
        """Return the plain dictionary that a record keeps."""
        values = dataclasses.asdict(self)
        del values["latency"]["remeasure"]
        values["model"]["name"] = self.model_name
        values["target_modules"] = {"label": self.target_set, "roles": list(self.roles)}
        values["adapter"] = self.adapter.own_settings
        return values


TUNING_SETTINGS = (
    *("tuning", "tuning_rates", "tuning_most", "tuning_seed", "validation_examples"),
)


def hash_values(values: dict[str, Any]) -> str:
    """8 hex digits that depend on the values alone, not on their order or on the process."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def to_config(values: DictConfig) -> Config:
    """Turn Hydra's configuration into checked, typed values; UserError names the bad key."""
    # `variables` only feed interpolations, which are resolved here.
    own = [str(key) for key in values if key not in ("hydra", "experiment", "variables")]
    schema = OmegaConf.structured(Config)
    # OmegaConf takes frozen dataclasses for read-only, but this is where they are filled.
    for node in (schema, *(section for section in schema.values() if OmegaConf.is_config(section))):
        OmegaConf.set_readonly(node, False)
    try:
        plain = {key: _resolve(values, key) for key in own}
        merged = OmegaConf.merge(schema, plain)
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        first_line = str(error).splitlines()[0]
        raise UserError(f"config: {error.full_key or 'top level'}: {first_line}") from error
    assert isinstance(config, Config)
    validate(config)
    task = config.task
    if task.source == "embedded":
        return config
    return dataclasses.replace(config, data_digest=digest_data(task.path, task.dataset))


def _resolve(values: DictConfig, key: str) -> Any:
    value = values[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


CHOICES: dict[str, tuple[str | None, ...]] = {
    "model.source": ("embedded", "hub", "local", "random"),
    "model.dtype": ("auto", "bfloat16", "float16", "float32"),
    "model.attention": ("auto", "sdpa", "eager", "flash_attention_2"),
    "model.chat_template": ("auto", "off"),
    "task.source": ("hub", "local", "embedded", "auto"),
    "task.on_bad_row": ("fail", "skip"),
    "task.truncation": (None, "head", "head_tail"),
    "task.choose_by": ("likelihood", "generation"),
    "task.metric": (None, "choice", "exact", "numeric", "rouge", "json_fields"),
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
    "seed": (0, 2**32 - 1, True),
}


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
    _validate_model(config.model)
    _validate_adapter(config)
    _validate_rate(config)
    _validate_task(config.task)
    _validate_latency(config.latency)
    _validate_study(config)
    if config.train.gradient_accumulation > config.train.batch_size:
        raise UserError(
            f"train.gradient_accumulation is {config.train.gradient_accumulation}; expected at "
            f"most train.batch_size, {config.train.batch_size}: it cuts a step into parts"
        )


def _value(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


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
            f"model.path is {model.path}: no config.json there; expected a folder written by "
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
            f"adapter.{name} is {value}, and adapter.method {adapter.method} "
            + ("needs it" if value is None else f"has no such setting (its own: {has})")
            + f"; choose adapter={adapter.method}, which sets what belongs to it"
        )
    if config.train.gradient_checkpointing and not method.takes_checkpointing:
        raise UserError(
            f"train.gradient_checkpointing is on, but adapter.method {adapter.method} puts trained "
            "tokens into the cache that it does without; turn it off"
        )
    _validate_allocation(adapter)
    _validate_budget(adapter)


def _validate_budget(adapter: AdapterConfig) -> None:
    if adapter.budget in (None, "equal_rank"):
        return
    if "rank" not in METHODS[adapter.method].settings:
        raise UserError(
            f"adapter.budget is {adapter.budget}, but adapter.method {adapter.method} has no rank "
            "to solve; leave adapter.budget out"
        )
    check_target_set(adapter.method, parse_target_set(adapter.budget_set))
    if adapter.budget == "equal_latency" and not adapter.budget_study:
        raise UserError(
            "adapter.budget is equal_latency and adapter.budget_study is not set; expected the "
            "folder of a latency study, for example of python -m harness.latency "
            "target_modules=q,k,v,o_proj,fc1,fc2 adapter.rank=4,64"
        )
    if adapter.budget == "equal_latency" and not METHODS[adapter.method].is_packable:
        raise UserError(
            f"adapter.budget is equal_latency, but adapter.method is {adapter.method}; latency "
            "studies know what LoRA costs: use adapter.budget=equal_params"
        )


def _validate_allocation(adapter: AdapterConfig) -> None:
    first, last = adapter.allocate_from, adapter.allocate_until
    if first is None or last is None or adapter.rank is None or adapter.initial_rank is None:
        return
    if first >= last:
        raise UserError(
            f"adapter.allocate_from is {first} and adapter.allocate_until {last}; expected the "
            "former to be smaller: ranks move between them"
        )
    shrinks = adapter.method == "adalora"
    if adapter.initial_rank < adapter.rank if shrinks else adapter.initial_rank > adapter.rank:
        bound = "at least" if shrinks else "at most"
        raise UserError(
            f"adapter.initial_rank is {adapter.initial_rank} and adapter.rank {adapter.rank}; "
            f"expected {bound} adapter.rank: {METHODS[adapter.method].title} "
            f"{'takes ranks away' if shrinks else 'adds ranks'} while it trains"
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
    if train.tuning_most < train.tuning_rates:
        raise UserError(
            f"train.tuning_most is {train.tuning_most}; expected at least train.tuning_rates, "
            f"{train.tuning_rates}: the grid may only grow"
        )
    if train.tuning_seed == config.seed:
        raise UserError(
            f"train.tuning_seed is {train.tuning_seed}, and so is seed; expected another: a rate "
            "is chosen under one seed and judged under fresh ones"
        )


def _validate_task(task: TaskConfig) -> None:
    if task.source == "local" and not task.path:
        raise UserError(
            "task.path is not set; task.source=local needs a file, or a folder with train and test "
            "files, in JSONL, Parquet or CSV, for example task.path=data/medmcqa"
        )
    if task.source == "local" and not Path(str(task.path)).expanduser().exists():
        raise UserError(
            f"task.path is {task.path}: no such file or folder; expected JSONL, Parquet or CSV"
        )
    own = {"answer": task.answer, "metric": task.metric}
    if task.prompt is not None and None in own.values():
        missing = " and ".join(f"task.{key}" for key, value in own.items() if value is None)
        raise UserError(f"task.prompt is set, but {missing} is not; a task of one's own needs all")
    if task.prompt is None and any(value is not None for value in own.values()):
        raise UserError(
            "task.answer and task.metric belong to a task of one's own; set task.prompt"
        )


def _validate_latency(latency: LatencyConfig) -> None:
    if latency.compile != "off" and latency.cache != "static":
        raise UserError(
            f"latency.compile is {latency.compile!r} and latency.cache {latency.cache!r}; a "
            "compiled step needs tensors of one size: set latency.cache=static"
        )


def _validate_study(config: Config) -> None:
    name = config.study
    if not name or Path(name).name != name or name in (".", ".."):
        raise UserError(f"study is {name!r}; expected a plain folder name, such as my-study")


def conf_folder() -> Path:
    """Return the folder of the YAML files: inside the package when installed, else beside it."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def compose(overrides: Sequence[str]) -> Config:
    """Compose the configuration from command-line overrides, outside a Hydra job.

    Raises UserError, in one line, for an unknown choice or key and for a bad value.
    """
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            values = hydra_compose("config", overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    return to_config(values)


def expand_overrides(overrides: Sequence[str]) -> list[list[str]]:
    """Write a sweep's overrides out, one list a job, as Hydra's own sweeper does.

    `["a=1,2", "b=3"]` is `[["a=1", "b=3"], ["a=2", "b=3"]]`. Raises UserError for what Hydra cannot
    parse.
    """
    return [list(job) for job in itertools.product(*map(_expand_override, overrides))]


def _expand_override(override: str) -> list[str]:
    try:
        parsed = OverridesParser.create().parse_override(override)
        if not parsed.is_sweep_override():
            return [override]
        return [f"{parsed.get_key_element()}={v}" for v in parsed.sweep_string_iterator()]
    except HydraException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{override}: not an override that Hydra can read ({reason})") from error
