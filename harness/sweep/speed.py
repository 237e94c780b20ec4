"""How fast this machine trains, reads and writes: measured in seconds on a few blocks of the model.

A product of matrices alone says little: what a step loses to attention, norms and memory depends on
the kind of CPU and on the dtype. So a pack is trained, read and written with through the first
block, and through the first few. The difference is the cost of a block, the rest that of everything
else.
"""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import pairwise
from statistics import fmean, median

import torch
from transformers import PreTrainedModel

from harness.adapters.attach import attach_adapter
from harness.config.schema import AdapterConfig, ModelConfig
from harness.data.encoding import EncodedExample
from harness.evaluation.generation import WritingRules, decode
from harness.models.devices import resolve_device, resolve_dtype
from harness.models.forward import run_body
from harness.models.loading import count_blocks, load_shallow
from harness.models.memory import give_back_memory, read_free_memory
from harness.models.projections import ModuleMap, Projection
from harness.sweep.activations import Activations, count_bytes, guess_activations
from harness.training.loop import Passes, Recipe, train_pack
from harness.training.packed_model import Pack

DEPTHS = (2, 6)
"""Blocks of the two models that are measured."""
ROWS = (2, 16)
"""Rows of the two batches that are written to."""
DECODED_TOKENS = 6
MATRIX_SIZE = {"cpu": 768, "cuda": 4096}
TOKEN = 1
"""Any token: what it says does not change how long it takes."""
NO_TOKEN = 2**31 - 1
"""No model writes it, so that nothing ends early."""


@dataclass(frozen=True)
class Costs:
    """Seconds of one worker while all are busy."""

    train: float
    """A token of a training pass, of one variant among those that share it."""
    prompt: float
    """A token of a prompt that is read."""
    step: float
    """A step of decoding, whatever the number of rows."""
    row: float
    """Each row of a step of decoding."""

    def decode(self, rows: int, steps: int) -> float:
        """Seconds of so many steps of decoding."""
        return steps * (self.step + rows * self.row)


@dataclass(frozen=True)
class Speed:
    costs: Costs
    dtype: str
    """`float32`, say."""
    workers: int
    """Processes that work at a time."""
    is_measured: bool
    """Else it is guessed from the rate of a product of matrices."""
    activations: Activations
    """Memory of a training pass."""

    @property
    def train_tokens_per_second(self) -> float:
        """Of all workers together."""
        return self.workers / self.costs.train


@dataclass(frozen=True)
class Trial:
    """What is measured: a pack like those of the sweep, on examples of its typical size."""

    model: ModelConfig
    adapters: Sequence[tuple[AdapterConfig, Sequence[Projection]]]
    """Of each variant that trains in the same passes."""
    prompt_tokens: int
    completion_tokens: int
    batch_size: int
    """Examples of a step, of each variant."""
    pass_tokens: int
    """Of a training pass, of all its variants together."""
    workers: int


def guess_speed(model: ModelConfig, mapped: ModuleMap, workers: int) -> Speed:
    """Return the speed to expect from the rate of a product of matrices.

    A model reaches about half of that rate; a step of decoding reads every weight, and multiplies
    far below the peak.
    """
    device, dtype = resolve_device(model.device), resolve_dtype(model.dtype, model.device)
    operation = 2 / measure_rate(device, dtype)
    inside = mapped.inside
    weights = sum(p.in_features * p.out_features * max(p.experts, 1) for p in inside)
    costs = Costs(
        # Forward, and backward through the activations alone: 2 products a weight and token.
        train=2 * operation * weights,
        prompt=operation * weights,
        step=10 * operation * weights,
        row=4 * operation * weights,
    )
    activations = guess_activations(inside, mapped.block_count, dtype.itemsize)
    return Speed(costs, _name(dtype), workers, False, activations)


@functools.cache
def measure_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of one thread, or of a GPU, in a product of square matrices."""
    size = MATRIX_SIZE.get(device.type, MATRIX_SIZE["cpu"])
    left = torch.randn(size, size, device=device, dtype=dtype)
    with _one_thread():
        return 2 * size**3 / min(_time(lambda: (left @ left).sum().item()) for _ in range(5))


def measure_speed(trial: Trial) -> Speed:
    """Train, read and write with the first blocks of the model, in a thread for each worker.

    Takes seconds. The weights are random; the costs at two depths give a line, which is extended to
    all blocks.
    """
    blocks = count_blocks(trial.model)
    depths = [min(depth, blocks) for depth in DEPTHS]
    device = resolve_device(trial.model.device)
    models = [load_shallow(trial.model, depth, device) for depth in depths]
    # Made here and not in the threads: PEFT's warnings are silenced for the whole process.
    packs = [
        [_make_pack(trial, *each) for each in zip(models, depths, strict=True)]
        for _ in range(trial.workers)
    ]
    length = trial.prompt_tokens + trial.completion_tokens
    tokens = length * len(trial.adapters)
    shallow_bytes, deep_bytes = (count_bytes(pack, tokens) for pack in packs[0])
    meeting = threading.Barrier(trial.workers)

    def work(own: Sequence[Pack]) -> list[Costs]:
        return [_measure(trial, pack, meeting) for pack in own]

    one_thread = _one_thread() if trial.workers > 1 else contextlib.nullcontext()
    with one_thread, ThreadPoolExecutor(trial.workers) as pool:
        measured = list(pool.map(work, packs))
    del models, packs
    give_back_memory()
    steps = (blocks - depths[0]) / max(1, depths[1] - depths[0])

    def extend(cost: str) -> float:
        shallow, deep = (fmean(getattr(each[i], cost) for each in measured) for i in range(2))
        return max(0.0, shallow + steps * (deep - shallow))

    costs = Costs(*(extend(each.name) for each in fields(Costs)))
    block = max(0.0, deep_bytes - shallow_bytes) / max(1, depths[1] - depths[0])
    activations = Activations(block, max(0.0, shallow_bytes - depths[0] * block))
    dtype = resolve_dtype(trial.model.dtype, trial.model.device)
    return Speed(costs, _name(dtype), trial.workers, True, activations)


def can_be_measured(model: ModelConfig) -> bool:
    """Whether the first blocks fit well into the memory that is free."""
    shallow = load_shallow(model, DEPTHS[1], torch.device("meta"))
    size = resolve_dtype(model.dtype, model.device).itemsize
    needed = 2 * size * sum(weight.numel() for weight in shallow.parameters())
    return bool(needed < read_free_memory(resolve_device(model.device)) / 3)


def _make_pack(trial: Trial, model: PreTrainedModel, depth: int) -> Pack:
    """A pack of the trial's adapters, on the first `depth` blocks."""
    members = [
        attach_adapter(model, [each for each in projections if each.block < depth], adapter, seed=0)
        for adapter, projections in trial.adapters
    ]
    return Pack(model, members, attention=trial.model.attention)


def _measure(trial: Trial, pack: Pack, meeting: threading.Barrier) -> Costs:
    train = _measure_training(trial, pack, meeting)
    prompt = _measure_reading(trial, pack, meeting)
    few, many = (_measure_writing(trial, pack, rows, meeting) for rows in ROWS)
    row = max(0.0, many - few) / (ROWS[1] - ROWS[0])
    return Costs(train, prompt, max(0.0, few - ROWS[0] * row), row)


def _measure_training(trial: Trial, pack: Pack, meeting: threading.Barrier) -> float:
    length = trial.prompt_tokens + trial.completion_tokens
    rows = max(1, min(trial.batch_size, trial.pass_tokens // (length * len(pack.members))))
    # The first step is cheaper: as long as B is 0, all members compute what the base does.
    steps = [_make_examples(trial, rows)] * 3
    ends: list[float] = []
    meeting.wait()
    train_pack(
        pack,
        [
            Recipe(steps, 1e-4, "constant", 0.0, 0.0, 1.0, seed=0, adapter=adapter)
            for adapter, _ in trial.adapters
        ],
        Passes(trial.pass_tokens),
        pad_token_id=TOKEN,
        on_step=lambda _: ends.append(time.perf_counter()),
    )
    return (ends[-1] - ends[0]) / (2 * rows * length * len(pack.members))


def _make_examples(trial: Trial, rows: int) -> list[EncodedExample]:
    """Rows that differ in their first token: what rows begin with alike is computed only once."""
    return [
        EncodedExample(
            example=None,  # type: ignore[arg-type]
            prompt_ids=(TOKEN + row, *(TOKEN,) * (trial.prompt_tokens - 1)),
            completion_ids=(TOKEN,) * trial.completion_tokens,
            choice_ids=(),
            cut_tokens=0,
            is_completion_cut=False,
        )
        for row in range(rows)
    ]


def _measure_reading(trial: Trial, pack: Pack, meeting: threading.Barrier) -> float:
    pack.eval()
    rows = max(1, trial.pass_tokens // trial.prompt_tokens)
    pack.rows.assign([row % len(pack.members) for row in range(rows)])
    ids = torch.full((rows, trial.prompt_tokens), TOKEN, device=pack.model.device)
    picked = torch.arange(rows, device=ids.device) * trial.prompt_tokens

    @torch.inference_mode()
    def read() -> None:
        run_body(pack.model, ids, picked).sum().item()

    read()
    meeting.wait()
    return min(_time(read) for _ in range(2)) / ids.numel()


@torch.inference_mode()
def _measure_writing(trial: Trial, pack: Pack, rows: int, meeting: threading.Barrier) -> float:
    owners = [row % len(pack.members) for row in range(rows)]
    prompts = [(TOKEN,) * trial.prompt_tokens] * rows
    rules = WritingRules(1 + DECODED_TOKENS, end_tokens=[NO_TOKEN], pad_token=TOKEN)
    ends: list[float] = []
    hook = pack.model.register_forward_hook(lambda *_: ends.append(time.perf_counter()))
    meeting.wait()
    decode(pack, owners, prompts, rules)
    hook.remove()
    # The prompts are read before the first of these.
    return median(after - before for before, after in pairwise(ends[-1 - DECODED_TOKENS :]))


def _time(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread a product: so it is right beside other work, and what a worker of several has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
