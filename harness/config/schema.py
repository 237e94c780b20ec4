"""The configuration's schema: typed values, and what of them makes a run.

Everything past this room takes plain values.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config.catalog import METHODS
from harness.config.target_sets import label_roles, order_roles
from harness.records.record import BASE, TUNED, make_run_id


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
    """A method has some of these settings, named in `harness.config.catalog`; the others are
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
    model_digest: str | None = None
    """Content of a local model folder, likewise; in records `model.digest`."""

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
        return make_run_id(
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
        return make_run_id(self.model_name, self.task.name, BASE, "none", 0, hash_values(kept))

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
        values = self._list_values()
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

    def _list_values(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        digest = values.pop("model_digest")
        if digest is not None:
            values["model"]["digest"] = digest
        return values

    def as_record(self) -> dict[str, Any]:
        """Return the plain dictionary that a record keeps."""
        values = self._list_values()
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
