"""The configuration's schema: typed values, and what of them makes a run.

Everything past this room takes plain values.
"""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.config.catalog import METHODS
from harness.config.target_sets import (
    ATTENTION,
    EVERY_LAYER,
    FEED_FORWARD,
    TargetSet,
    order_roles,
    parse_layers,
)
from harness.errors import UserError
from harness.records.record import BASE, TUNED, make_run_id


@dataclass(frozen=True)
class ModelConfig:
    source: str = "embedded"
    """Where the model comes from: `embedded`, `hub`, `local` or `random`."""
    name: str | None = None
    """Label in tables and run ids. Null makes it from the path or the shape."""
    path: str | None = None
    """Hub id (`source: hub`) or folder written by save_pretrained (`source: local`)."""
    revision: str | None = None
    """Commit, tag or branch of a hub model. Null reads the default branch."""
    shape: str | None = None
    """Named shape for random weights (`source: random`), see harness/models/shapes.py."""
    dtype: str = "auto"
    """Precision of the base: `auto`, `bfloat16`, `float16` or `float32`. `auto` is bfloat16 where
    the hardware multiplies in it, else float16 on a GPU and float32 on a CPU."""
    attention: str = "auto"
    """Attention kernel: `auto`, `sdpa`, `eager` or `flash_attention_2`. `auto` is sdpa where the
    model has it; on a CPU, training and scoring use an equivalent that is faster."""
    device: str = "auto"
    """Device: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1` or `mps`."""
    roles: dict[str, Any] = field(default_factory=dict)
    """Path inside a block for each role, where the harness does not find the right one."""
    chat_template: str = "auto"
    """Whether prompts use the tokenizer's chat template: `auto` (if it has one) or `off` (plain
    text)."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Variables that the chat template is given, such as `{enable_thinking: false}`."""
    generation: str = "greedy"
    """How answers are written: `greedy`, whatever the checkpoint's generation_config.json says, or
    `checkpoint`, greedily with its penalties, suppressed tokens and least lengths."""


@dataclass(frozen=True)
class TargetModulesConfig:
    roles: dict[str, bool] = field(default_factory=dict)
    """Roles that the adapter is put on; `all` for every role that the model's blocks have. A
    mapping, so that Hydra merges two choices into their union."""
    layers: Any = EVERY_LAYER
    """Filled in by a name such as `o_proj@0-7`: its layers."""


@dataclass(frozen=True)
class TaskConfig:
    name: str = "medmcqa"
    """Name of the task, in tables and run ids."""
    source: str = "auto"
    """Where the rows come from: `auto`, `embedded` (no network), `local` (see path) or `hub` (the
    public data set). `auto` reads path or dataset if one is set, else embedded rows if the task has
    them, else the hub."""
    path: str | None = None
    """File or folder of JSONL, JSON, CSV, TSV (also .gz) or Parquet, a folder of `save_to_disk`, or
    LLaMA-Factory's dataset_info.json (`source: local`). A folder holds train and test files; one
    file is split by a seeded rule. With `source: auto` a hub id works too."""
    encoding: str | None = None
    """Encoding of text files, such as `cp1252`. Null is UTF-8."""
    id_column: str | None = None
    """Column of the rows' ids. Null is `id`, where there is one."""
    dataset: str | None = None
    """Hub id to read in place of the task's own data set (`source: hub`)."""
    subset: str | None = None
    """Configuration name, for hub data sets that have several; name of the data set in a
    dataset_info.json."""
    revision: str | None = None
    """Commit of the hub data set. Null reads the pinned commit of the task's own data set and the
    default branch of any other; the record names the commit."""
    test: str | None = None
    """Test rows in place of the source's own test part: a file, a folder with a test file, or a hub
    id, in the same columns; or the name of a published test set of the task. Rows that it has are
    not trained on."""
    train_examples: int = 1000
    """Training examples; a smaller source gives all it has."""
    test_examples: int = 500
    """Examples to score; a smaller source gives all it has."""
    max_prompt_tokens: int = 1024
    """Longer prompts are cut. The number of cut prompts is recorded."""
    max_completion_tokens: int = 512
    """Longer training completions are cut, and generation stops at this length."""
    truncation: str | None = None
    """Part of a prompt that is kept when it is too long: `head`, `head_tail` (both ends), or null
    for the task's own rule."""
    choose_by: str = "likelihood"
    """How a question with fixed options is answered: `likelihood` (the most likely option) or
    `generation` (read from the generated text)."""
    schema_in_prompt: bool = False
    """Name the keys of the answer's JSON in the prompt, as the training examples have them. The
    base then has a chance."""
    constrained_decoding: bool = False
    """Restrict generated JSON to the schema of the training examples. Needs the package llguidance
    and adds time to every token."""
    format: str | None = None
    """Custom task: format of the rows, `alpaca`, `sharegpt`, `messages` or `prompt_completion`, in
    place of prompt and answer."""
    prompt: str | None = None
    """Custom task: Jinja2 template over the columns."""
    answer: str | None = None
    """Custom task: column that holds the answer, or a template."""
    reasoning: str | None = None
    """Custom task: column or template of what is written before the answer; the metric reads what
    follows `Answer:`."""
    metric: str | None = None
    """Custom task: `choice`, `exact`, `numeric`, `rouge`, `json_fields`, `labels`, a function of
    yours (`my_metrics.py:score`), or a module of evaluate (`evaluate:meteor`)."""
    decimal: str | None = None
    """Custom task, metric `numeric`: decimal sign of the data, `point` or `comma`. Null reads
    points, and refuses answers such as `12,5`."""
    choices: Any = None
    """Custom task, metric `choice`: the options, or the column that holds each row's options;
    metric `labels`: the labels that there are."""
    optional_columns: Any = None
    """Custom task: columns that may be empty, null or missing. Those that the template tests with
    `{% if column %}` may be anyway."""
    cut_column: str | None = None
    """Custom task: column that is cut when a prompt is too long. Null takes the longest text of the
    row."""
    split_columns: Any = None
    """Custom task: columns whose values training and test rows must not share. Null takes the
    columns of the prompt."""
    on_bad_row: str = "fail"
    """What to do with a bad row: `fail`, or `skip` (the number skipped is recorded)."""
    data_seed: int = 0
    """Seed of splits, selection, order and generated rows, the same for all variants."""
    extra_test_examples: int = 0
    """Filled in by a race: examples scored beyond `test_examples`, with adapters trained before."""
    tuning_examples: int = 0
    """Filled in while learning rates are tuned: examples of the validation part, or else of
    training rows that are held back, that are scored in place of the test split."""


@dataclass(frozen=True)
class AdapterConfig:
    """A method has some of these settings, named in `harness.config.catalog`; the others are
    None."""

    method: str = "lora"
    """Adapter method, one of the files in conf/adapter/."""
    rank: int | None = 8
    """Rank of the update; for bottleneck adapters, their width."""
    alpha: float | None = 16.0
    """Scale of the update: LoRA adds alpha / rank times B A."""
    dropout: float | None = 0.0
    """Dropout on the adapter's input during training."""
    learning_rate: float = 2e-4
    """Learning rate of the method, used unless `train.learning_rate` is set."""
    learning_rate_ratio: float | None = None
    """LoRA+: learning rate of B divided by that of A."""
    rho: float | None = None
    """EVA: largest rank of a projection, as a multiple of `rank`."""
    sample_examples: int | None = None
    """EVA, LoRA-GA: training examples that the initial weights are computed from."""
    initial_rank: int | None = None
    """AdaLoRA, IncreLoRA: rank of every projection at the start; `rank` is the mean at the end."""
    allocate_from: float | None = None
    """AdaLoRA, IncreLoRA: share of the steps after which ranks start to change."""
    allocate_until: float | None = None
    """AdaLoRA, IncreLoRA: share of the steps after which ranks are fixed."""
    orthogonality: float | None = None
    """AdaLoRA, IncreLoRA: weight of the penalty that keeps A's rows and B's columns orthogonal."""
    virtual_tokens: int | None = None
    """Prefix and prompt tuning: trained tokens before every prompt."""
    encoder_width: int | None = None
    """Prefix tuning: hidden units of the network that produces the prefix during training."""
    activation: str | None = None
    """Bottleneck adapters: activation between the two projections."""
    budget: str | None = None
    """What all target sets get the same amount of: `equal_rank`, `equal_params` or `equal_latency`.
    Null is equal rank."""
    budget_set: str = "all"
    """Target set whose parameters or latency at `rank` are the budget."""
    budget_study: str | None = None
    """Latency study that timed every role at two or more ranks (`budget: equal_latency`)."""
    alpha_policy: str = "ratio"
    """How alpha follows a rank set by the budget: `ratio` (alpha / rank is constant), `fixed`
    (alpha is constant) or `root` (alpha grows with the square root of the rank)."""

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
    """Learning rate: a number, or `tuned` to choose one for each variant on examples held back from
    training."""
    tuning: str = "grid"
    """Search for a tuned rate: `grid` or `halving`. `grid` trains every rate to the end; `halving`
    drops the worse half after a quarter of the steps, and half of the rest after half of them."""
    tuning_rates: int = 5
    """Rates in the first grid, half a decade apart around `adapter.learning_rate`."""
    tuning_most: int = 12
    """Rates at most. The grid grows while its best rate lies at an end."""
    tuning_study: str | None = None
    """Study whose tuned rates the grid starts from: for each target set and method, the middle of
    the grid is the rate chosen there. Null starts from `adapter.learning_rate`."""
    tuning_seed: int = 1000
    """Seed of the tuning runs."""
    validation_examples: int = 64
    """Examples to choose a rate by: of the validation part where there is one, else training rows
    that are held back."""
    epochs: float = 1.0
    """Passes over the training examples."""
    max_steps: int | None = None
    """Optimizer steps at most. Null trains all epochs."""
    batch_size: int = 8
    """Examples per optimizer step."""
    gradient_accumulation: int = 1
    """Micro-batches per optimizer step."""
    max_tokens_per_pass: int | None = None
    """Tokens per pass at most, over all variants that train together, padding included. Null takes
    the fastest size for the device (1,024 on a CPU, 16,384 on a GPU), or less where memory is
    short. The loss of a step does not depend on it."""
    schedule: str = "cosine"
    """Learning-rate decay after warm-up: `cosine`, `linear` or `constant`."""
    warmup_ratio: float = 0.1
    """Share of the steps over which the learning rate rises to its full value."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm, each variant's by itself."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""


@dataclass(frozen=True)
class EvaluationConfig:
    batch_size: int = 16
    """Examples scored at once, at most."""
    max_tokens_per_batch: int = 16384
    """Tokens per batch at most, padding and generated tokens included."""


@dataclass(frozen=True)
class LatencyConfig:
    enabled: bool = True
    """Whether to time inference."""
    batch_size: int = 1
    """Prompts per timed call."""
    prompt_tokens: int | None = None
    """Length of every timed prompt. Null takes the task's median. If output_tokens is set too, all
    tasks and seeds of a sweep share one timing."""
    output_tokens: int | None = None
    """Forced output length. Null takes the task's median, at most `max_output_tokens`."""
    max_output_tokens: int = 64
    """Upper limit of an output length taken from the task."""
    merged: bool = True
    """Also time each variant with its update merged into the base weights."""
    mixed: bool = True
    """Also time a batch whose rows use different adapters, where there are several of both."""
    adapter_dtype: str = "auto"
    """Precision of adapters: `auto` (PEFT's choice, float32 on a half-precision base) or `base`
    (the base's)."""
    cache: str = "dynamic"
    """Key-value cache: `dynamic`, or `static` (allocated in advance, which torch.compile needs)."""
    compile: str = "off"
    """torch.compile mode of the decode step: `off`, `default` or `reduce-overhead` (CUDA graphs on
    a GPU). Prefill is not compiled."""
    half_width: float | None = None
    """Timing stops when every ratio's 95% interval has at most this half-width. Null is 0.01 on a
    GPU, else 0.02."""
    margin: float | None = None
    """Ratios whose interval lies within this distance of 1 are equivalent. Null is half_width +
    0.01."""
    min_rounds: int = 15
    """Rounds over all processes before timing may stop; a round runs every variant once."""
    max_rounds: int | None = None
    """Rounds over all processes, at most. Null sets no limit."""
    min_processes: int = 3
    """Fresh processes before timing may stop."""
    max_seconds: float = 300.0
    """Time limit for one point of a latency study, or one task of a sweep. Ratios that are still
    uncertain then are reported as unresolved."""
    fresh_processes: bool = True
    """Time in fresh processes. `false` times in the sweep's process: faster, but blind to
    differences between processes."""
    remeasure: bool = False
    """Time finished runs again. Adapters and scores are kept, and run ids stay the same."""


@dataclass(frozen=True)
class RaceConfig:
    """What `hydra/sweeper=race` reads; no part of what makes a run."""

    tolerance: float = 0.02
    """Mean score that may be lost against the best set."""
    max_seeds: int = 6
    """Seeds of a target set at most: 0, 1, ..."""
    max_runs: int | None = None
    """Training runs of the study at most, without those that tune rates. Null sets no limit."""
    hours: float | None = None
    """Hours of work at most, over all starts of the race. No round begins that would end later.
    Null sets no limit."""
    more_examples: bool = True
    """Whether a round may score more test examples with the adapters that are there."""
    tune_rates: bool = True
    """Whether each set's learning rate is tuned first. `false`, or `train.learning_rate` on the
    command line, races at fixed rates."""


@dataclass(frozen=True)
class Config:
    model: ModelConfig = field(default_factory=ModelConfig)
    target_modules: TargetModulesConfig = field(default_factory=TargetModulesConfig)
    layers: Any = EVERY_LAYER
    """Blocks that get adapters: `all`, `first:8`, `last:8`, `every:2` (block 0, 2, 4 ...), or
    numbers from 0 and ranges, `0-7` or `0-3.12`. Sweep over them with `layers=all,first:8`."""
    task: TaskConfig = field(default_factory=TaskConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    race: RaceConfig = field(default_factory=RaceConfig)
    seed: int = 0
    """Seed of adapter initialization and data order. Sweep it to measure seed noise: seed=0,1,2."""
    study: str = "default"
    """Folder of the study under `results_dir`. Runs of one study are compared with each other."""
    results_dir: str = "results"
    """Folder of all studies."""
    data_digest: str | None = None
    """Filled in when the configuration is read: digest of local data files."""
    model_digest: str | None = None
    """Filled in when the configuration is read: digest of a local model folder; `model.digest` in
    records."""
    metric_digest: str | None = None
    """Filled in when the configuration is read: digest of the file that a metric of yours is in."""

    @property
    def model_name(self) -> str:
        if self.model.name:
            return self.model.name
        # Not resolved: a link's own name is what people call a model by.
        path = os.path.abspath(Path(self.model.path).expanduser()) if self.model.path else None
        return Path(path or self.model.shape or self.model.source).name

    @property
    def metric_name(self) -> str | None:
        """The metric of a custom task without the folder of its file."""
        if self.task.metric is None or self.metric_digest is None:
            return self.task.metric
        return os.path.basename(self.task.metric)

    @property
    def keeps_validation(self) -> bool:
        """Whether the validation part of a set that is cut by rule is kept from training.

        Embedded sets have parts of their own.
        """
        is_tuned = self.train.learning_rate == TUNED or self.task.tuning_examples > 0
        return is_tuned and self.task.source != "embedded"

    @cached_property
    def target(self) -> TargetSet:
        """Roles and layers; UserError where the layers are given twice and differ."""
        section = self.target_modules
        named, own = parse_layers(section.layers), parse_layers(self.layers)
        if EVERY_LAYER not in (named, own) and named != own:
            raise UserError(
                f"layers is {self.layers}, but target_modules names @{named}; give one of the two"
            )
        roles = order_roles(role for role, adapted in section.roles.items() if adapted)
        return TargetSet(roles, own if named == EVERY_LAYER else named)

    @property
    def roles(self) -> tuple[str, ...]:
        return self.target.roles

    @property
    def target_set(self) -> str:
        """Label of roles and layers."""
        return self.target.label

    @property
    def study_folder(self) -> Path:
        return Path(self.results_dir) / self.study

    @property
    def is_timed_again(self) -> bool:
        """Whether a run that is over is timed once more."""
        return self.latency.enabled and self.latency.remeasure

    @cached_property
    def run_id(self) -> str:
        return make_run_id(
            self.model_name,
            self.task.name,
            self.target_set,
            self.adapter.method,
            self.seed,
            hash_values(self.identity),
        )

    @cached_property
    def base_run_id(self) -> str:
        """Run id of the base that this variant is compared to: seed and recipe play no part."""
        kept = {
            key: value
            for key, value in self.identity.items()
            if key in ("model", "task", "data_digest", "metric_digest", "evaluation", "latency")
        }
        return make_run_id(self.model_name, self.task.name, BASE, "none", 0, hash_values(kept))

    @cached_property
    def group(self) -> str:
        """Same for variants that can share one pass: base, task, and how batches are cut.

        Adapter, seed, rate, schedule and length of training may be each variant's own.
        """
        kept = ("model", "task", "data_digest", "metric_digest", "evaluation", "latency")
        cut = ("batch_size", "gradient_accumulation", "max_tokens_per_pass")
        batches = {key: self.identity["train"][key] for key in (*cut, "gradient_checkpointing")}
        scored = {
            "extra_test_examples": self.task.extra_test_examples,
            "keeps_validation": self.keeps_validation,
        }
        same = {key: value for key, value in self.identity.items() if key in kept}
        return hash_values(same | batches | scored)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What makes the run: the configuration without output paths, spelled canonically.

        Shared by all that ask for it, so it must not be changed.
        """
        values = self._list_values()
        del values["study"], values["results_dir"], values["latency"]["remeasure"]
        # A run that has scored more examples is the same run.
        values["task"].pop("extra_test_examples", None)
        values["model"]["name"] = self.model_name
        values["target_modules"] = self.target_set
        del values["layers"]
        values["adapter"] = self.adapter.own_settings
        if self.train.learning_rate != TUNED:
            for key in TUNING_SETTINGS:
                del values["train"][key]
        elif self.train.tuning_study is None:
            del values["train"]["tuning_study"]
        # The content says what is read, however a path to it is spelled.
        if self.data_digest is not None:
            values["task"]["path"] = None
            if self.task.test and os.path.exists(os.path.expanduser(self.task.test)):
                values["task"]["test"] = os.path.basename(os.path.abspath(self.task.test))
        if self.model_digest is not None:
            values["model"]["path"] = None
        if self.metric_digest is not None:
            values["task"]["metric"] = self.metric_name
        return values

    def _list_values(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        del values["race"]
        # Roles that are named by hand; the first six stand in any case, as in older records.
        by_hand = values["model"]["roles"].items()
        values["model"]["roles"] = {
            role: path for role, path in by_hand if path or role in (*ATTENTION, *FEED_FORWARD)
        }
        # Later settings, which are not a part of older records.
        if not self.model.chat_template_kwargs:
            del values["model"]["chat_template_kwargs"]
        if self.model.generation == "greedy":
            del values["model"]["generation"]
        for key, older in LATER_TASK_SETTINGS.items():
            if values["task"][key] == older:
                del values["task"][key]
        if self.metric_digest is None:
            del values["metric_digest"]
        digest = values.pop("model_digest")
        if digest is not None:
            values["model"]["digest"] = digest
        return values

    def as_record(self) -> dict[str, Any]:
        """Return the plain dictionary that a record keeps."""
        values = self._list_values()
        del values["latency"]["remeasure"]
        values["model"]["name"] = self.model_name
        values["target_modules"] = {
            "label": self.target_set,
            "roles": list(self.roles),
            "layers": self.target.layers,
        }
        del values["layers"]
        values["adapter"] = self.adapter.own_settings
        return values


LATER_TASK_SETTINGS: dict[str, Any] = {
    **dict.fromkeys(("encoding", "id_column", "test", "format", "reasoning", "decimal")),
    "optional_columns": None,
    "schema_in_prompt": False,
    "extra_test_examples": 0,
    "tuning_examples": 0,
}
"""Setting of a task that older records lack -> what it is there."""

TUNING_SETTINGS = (
    *("tuning", "tuning_rates", "tuning_most", "tuning_study", "tuning_seed"),
    "validation_examples",
)


def hash_values(values: dict[str, Any]) -> str:
    """8 hex digits that depend on the values alone, not on their order or on the process."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
