"""What one variant of one task leaves behind, and how it gets to disk and back.

A run's folder holds `record.json` (this module's `Record`), `examples.parquet` (one row an
example), `latency.parquet` (one row a timed call) and `adapter/`. Every file is written beside its
place and moved there in one step, so a reader never sees half of one.
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from harness.errors import UserError
from harness.records.files import write_json

if TYPE_CHECKING:
    pass

SCHEMA_VERSION = 1
BASE = "base"
"""Target-set name of the frozen model with no adapter."""
TUNED = "tuned"
"""In place of a learning rate: it was chosen for each variant."""

Status = Literal["ok", "failed", "running", "interrupted"]


@dataclasses.dataclass(frozen=True)
class AdapterRecord:
    target_set: str
    """Label made from the roles, such as `qkv+o_proj`; `base` where there is no adapter."""
    roles: tuple[str, ...]
    """The roles of the set in canonical order, `all` for every one that the model's blocks have;
    empty for the base."""
    method: str
    """Adapter method, such as `lora`; `none` for the base."""
    rank: int
    """Rank r of the low-rank update; 0 for the base."""
    alpha: float
    """LoRA's alpha: the update is scaled by alpha / rank."""
    module_count: int
    """Number of adapted projections."""
    trainable_parameters: int
    """Number of trainable parameters."""
    adapter_bytes: int
    """Size of the saved adapter weights."""
    mergeable: bool
    """Whether the update can be folded into the base weights."""
    module_names: tuple[str, ...] = ()
    """Shortest endings of the adapted modules' paths that name no other module of the model, as
    PEFT's `target_modules` takes them; a whole path, `*` for an index, where no ending does."""
    parameter_names: tuple[str, ...] = ()
    """The same of stacked experts, as PEFT's `target_parameters` takes them."""
    layers: str = "all"
    """Blocks that the set is limited to, as its label spells them."""
    covered_blocks: int | None = None
    """Transformer blocks that hold an adapted projection; None in older records."""
    block_count: int | None = None
    """Transformer blocks of the model; None in older records."""


@dataclasses.dataclass(frozen=True)
class TrainRecord:
    steps: int
    """Optimizer steps taken."""
    examples: int
    """Examples seen, repeats counted."""
    tokens: int
    """Tokens that went through the model, padding left out."""
    completion_tokens: int
    """Tokens that carried loss."""
    truncated_examples: int
    """Distinct training examples whose prompt or completion was cut."""
    seconds: float
    """Wall time of the training loop, divided by the variants that it trained."""
    tokens_per_second: float
    """tokens / seconds."""
    peak_memory_bytes: int
    """Peak resident memory (CPU) or peak allocated memory (GPU) while training."""
    loss: tuple[float, ...]
    """Mean loss per completion token, one value an optimizer step."""
    final_loss: float
    """Mean of the last tenth of `loss`."""
    truncated_tokens_ratio: float = math.nan
    """Share of the training prompts' tokens that was cut."""
    skipped_rows: int = 0
    """Bad training rows left out under `task.on_bad_row=skip`."""
    pack: tuple[str, ...] = ()
    """Run ids of the variants that were trained in the same passes, this one among them."""
    gradient_energy: dict[str, float] = dataclasses.field(default_factory=dict)
    """Role -> squared norm of the first step's gradient of all its B matrices, before clipping."""
    learning_rate: float = math.nan
    """Highest rate of the schedule: as configured, or as chosen where it was tuned."""
    max_tokens_per_pass: int | None = None
    """Tokens of a training pass at most, of all variants of the pack: as configured, or as memory
    allowed. The loss does not depend on it."""
    gradient_checkpointing: bool | None = None
    """Whether activations were computed twice, as configured or to save memory."""


@dataclasses.dataclass(frozen=True)
class EvalRecord:
    source: str
    """`hub`, `local` or `embedded`."""
    dataset: str
    """What was read: hub id and revision, folder, or the embedded data's name."""
    stand_in: str | None
    """What embedded data stands in for the public set, in words; None where it does not."""
    split: str
    """Split that was scored."""
    examples: int
    """Number of scored examples."""
    metric: str
    """Name of the headline score, in [0, 1], higher is better."""
    scores: dict[str, float]
    """Mean of every score over the examples."""
    seconds: float
    """Wall time of scoring, divided by the variants that were scored in the same passes."""
    truncated_examples: int
    """Examples whose prompt was cut to fit."""
    truncated_tokens_ratio: float
    """Share of all prompt tokens that was cut."""
    skipped_rows: int
    """Bad rows left out under `task.on_bad_row=skip`."""
    majority_prediction: str | None = None
    """The constant answer of the highest headline score, of tasks with fixed options (`A`)."""
    majority_score: float = math.nan
    """Its headline score on the scored examples."""
    scoring: str = ""
    """How it was scored: `likelihood`, `generation` or `constrained generation`."""
    truncation: str = ""
    """Rule for prompts that do not fit: `head` or `head_tail`."""
    completion_tokens: float = math.nan
    """Mean length of what was generated, end token left out."""
    reasoning_tokens: float = math.nan
    """Mean length of the part of it that only leads to the answer."""
    notes: tuple[str, ...] = ()
    """What a reader of the scores has to know of prompts and answers, in sentences: a date that a
    chat template was given, what of a checkpoint's generation settings was set aside."""


@dataclasses.dataclass(frozen=True)
class LatencyRecord:
    batch_size: int
    """Rows of the timed batch."""
    prompt_tokens: int
    """Prompt length of every timed call."""
    output_tokens: int
    """Forced output length of every timed call."""
    rounds: int
    """Timed rounds; each ran every arm once, in a seeded random order."""
    load_before: float
    """One-minute load average before the first timed round (NaN where unknown)."""
    load_after: float
    """One-minute load average after the last timed round (NaN where unknown)."""
    processes: int = 1
    """Processes that the rounds were spread over."""
    stopped: str = ""
    """What ended the rounds: `target reached`, `time budget` or `rounds limit`."""
    half_width: float = math.nan
    """Half-width that the ratios' intervals had to reach."""
    margin: float = math.nan
    """How near to 1 a ratio's interval had to lie to be called equivalent."""
    min_rounds: int = 0
    """Rounds that the rule asked for."""
    min_processes: int = 0
    """Processes that the rule asked for."""
    adapter_dtype: str = ""
    """Dtype of the unmerged adapters' weights as they ran."""
    session: str = ""
    """Run id of the base that was timed. Runs with the same one share its calls, and so their
    times, whatever their task and seed."""


@dataclasses.dataclass(frozen=True)
class ErrorRecord:
    type: str
    """Class of the exception."""
    message: str
    """Its text."""
    traceback: str
    """The whole traceback."""


@dataclasses.dataclass(frozen=True)
class Record:
    run_id: str
    """`<model>--<task>--<target set>--<method>--s<seed>--<8 hex of the config's hash>`."""
    status: Status
    """`ok` only when every stage has run."""
    config: dict[str, Any]
    """The resolved configuration of the run, output paths included."""
    adapter: AdapterRecord | None = None
    """Filled once the adapter is attached."""
    train: TrainRecord | None = None
    """Filled after training; None for the base."""
    eval: EvalRecord | None = None
    """Filled after scoring."""
    latency: LatencyRecord | None = None
    """Filled after timing; the calls themselves are in `latency.parquet`."""
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Versions, hardware, git state and noise, from `harness.records.environment`."""
    error: ErrorRecord | None = None
    """Why the run failed or was interrupted."""
    schema_version: int = SCHEMA_VERSION
    """Version of this layout."""


SECTIONS: dict[str, type[Any]] = {
    "adapter": AdapterRecord,
    "train": TrainRecord,
    "eval": EvalRecord,
    "latency": LatencyRecord,
    "error": ErrorRecord,
}

RUN_ID = re.compile(
    r"(?P<model>.+)--(?P<task>.+)--(?P<target_set>.+)--(?P<method>.+)--s(?P<seed>\d+)--[0-9a-f]{8}"
)


def make_run_id(
    model: str, task: str, target_set: str, method: str, seed: int, config_hash: str
) -> str:
    """Join the parts of a run id; characters that a file name cannot carry become `-`."""
    parts = [model, task, target_set, method, f"s{seed}", config_hash]
    return "--".join(re.sub(r"[^\w.+@]+", "-", part).strip("-") for part in parts)


def write_record(folder: Path, record: Record) -> None:
    """Write `record.json` into `folder`, atomically; a full disk raises UserError."""
    write_json(folder / "record.json", dataclasses.asdict(record))


def read_record(folder: Path) -> Record:
    """Read `record.json` of a run's folder.

    Raises UserError where the file is missing, not JSON, or not a record of a known schema.
    """
    path = folder / "record.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return _parse_record(fields)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: not a record of this harness ({error})") from error


def _parse_record(fields: dict[str, Any]) -> Record:
    version = fields.pop("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"schema_version is {version}, expected {SCHEMA_VERSION}; a later version wrote it, so "
            "update the harness"
        )
    if fields["status"] not in get_args(Status):
        raise ValueError(f"status is {fields['status']!r}, expected one of {get_args(Status)}")
    if not isinstance(fields["config"], dict):
        raise ValueError("config is not a mapping")
    for name, section in SECTIONS.items():
        if fields.get(name) is not None:
            fields[name] = _parse_section(section, fields[name])
    return Record(**fields)


def _parse_section(section: type[Any], values: Mapping[str, Any]) -> Any:
    """JSON has neither tuples nor NaN: give a section's fields their types back."""
    types = {field.name: field.type for field in dataclasses.fields(section)}
    parsed: dict[str, Any] = {}
    for name, value in values.items():
        if types[name] is float and value is None:
            value = math.nan
        elif isinstance(value, list):
            value = tuple(math.nan if item is None else item for item in value)
        elif isinstance(value, dict):
            value = {key: math.nan if item is None else item for key, item in value.items()}
        parsed[name] = value
    return section(**parsed)
