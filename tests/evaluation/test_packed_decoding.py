"""Packed greedy decoding, token for token against stock PEFT's and transformers' own."""

import random
from typing import Any

import pytest
import torch
from peft import PeftModel
from tiny_models import load_tiny
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from harness.adapters.attach import attach_adapter
from harness.config.schema import AdapterConfig
from harness.data.encoding import EncodedExample
from harness.evaluation.generation import WritingRules, decode, ignores_padding
from harness.evaluation.respondents import Respondents
from harness.evaluation.scoring import choose
from harness.models.loading import LoadedModel
from harness.models.memory import PASS_TOKENS
from harness.models.projections import map_modules
from harness.training.kernels.dropout import MaskKey
from harness.training.packed_model import (
    BASE_ROW,
    LowRank,
    Pack,
    PackedProjection,
    Rows,
    lora_layers,
)
from tasks.base import Example

SETS = (("q", "k", "v"), ("o", "fc2"), ("fc1",))
LENGTH = 12


@pytest.fixture(
    scope="module", params=["llama", "gpt2", "phi3", "bloom", "mpt", "opt", "gemma2", "falcon"]
)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return load_tiny(request.param)


@pytest.fixture(scope="module")
def members(loaded: LoadedModel) -> list[PeftModel]:
    mapped = map_modules(loaded.model, loaded.model.config)
    attached = []
    for seed, roles in enumerate(SETS):
        member = attach_adapter(
            loaded.model,
            mapped.select(roles),
            AdapterConfig(rank=2 + seed, alpha=16),
            seed=seed,
        )
        torch.manual_seed(seed)
        for _, layer in lora_layers(member):
            torch.nn.init.normal_(layer.lora_B["default"].weight, std=1.0)
        attached.append(member.eval())
    return attached


def make_prompts() -> list[list[int]]:
    draw = random.Random(2)
    return [[draw.randrange(5, 40_000) for _ in range(n)] for n in (9, 4, 12, 7)]


def write_alone(model: Any, prompt: list[int]) -> list[int]:
    output = model.generate(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=LENGTH,
        min_new_tokens=LENGTH,
        do_sample=False,
        pad_token_id=0,
    )
    tokens: list[int] = output[0, len(prompt) :].tolist()
    return tokens


CUT = ("llama", "opt", "mpt", "gemma2")
"""Where reading two rows at a time is tried: rotary, learned and ALiBi positions, and a window."""


@pytest.mark.parametrize("pass_tokens", [2048, 24])
def test_rows_write_what_their_owner_writes_alone(
    loaded: LoadedModel,
    members: list[PeftModel],
    pass_tokens: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether all prompts are read at once or two at a time, of different owners."""
    if pass_tokens == 24 and loaded.model.config.model_type not in CUT:
        pytest.skip("one architecture of each kind of positions")
    monkeypatch.setitem(PASS_TOKENS, "cpu", pass_tokens)
    prompts = make_prompts()
    pairs = [(owner, prompt) for owner in (BASE_ROW, 0, 1, 2) for prompt in prompts]
    models = {BASE_ROW: loaded.model, **dict(enumerate(members))}
    alone = [write_alone(models[owner], prompt) for owner, prompt in pairs]
    assert len({tuple(tokens) for tokens in alone}) > len(prompts)
    # Tokens that occur end rows at many different lengths, and some rows never.
    draw = random.Random(1)
    ends = sorted({draw.choice(tokens) for tokens in draw.sample(alone, 6)})
    expected = []
    for tokens in alone:
        end = next((i for i, token in enumerate(tokens) if token in ends), None)
        expected.append(tokens[:end])
    assert len({len(tokens) for tokens in expected}) > 1
    pack = Pack(loaded.model, members)
    pack.eval()
    # Tried once, with a row of its own.
    assert ignores_padding(pack, 0)
    rows: list[int] = []
    embedding = pack.model.get_input_embeddings()
    embedding.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    with torch.inference_mode():
        written = decode(
            pack,
            [owner for owner, _ in pairs],
            [prompt for _, prompt in pairs],
            WritingRules(LENGTH, ends, pad_token=0),
        )
    assert written == expected
    if pass_tokens == 24:
        assert rows[:8] == [2] * 8
        del rows[:8]
    # Rows that have ended leave, and nothing runs for the sake of nobody.
    assert rows[0] == len(pairs)
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] < len(pairs)
    assert len(rows) <= LENGTH


def test_a_row_that_ends_at_once_writes_nothing(loaded: LoadedModel) -> None:
    (prompt, *_) = make_prompts()
    (first, *_) = write_alone(loaded.model, prompt)
    pack = Pack(loaded.model, [])
    written = decode(pack, [BASE_ROW], [prompt], WritingRules(5, [first], pad_token=first))
    assert written == [[]]


@pytest.mark.parametrize("shared", [0, 40])
def test_choices_after_a_common_beginning_are_those_of_each_sequence_alone(
    loaded: LoadedModel, members: list[PeftModel], shared: int
) -> None:
    """The common beginning is read once an owner, and counts as if each row had read it."""
    draw = random.Random(3)
    beginning = [draw.randrange(5, 40_000) for _ in range(shared)]
    choices = ((11, 12), (11, 13), (14, 12, 15), (16,))
    items = [
        EncodedExample(
            Example(str(i), "", "", "", "A", "A", ("A", "B", "C", "D")),
            tuple(beginning + [draw.randrange(5, 40_000) for _ in range(length)]),
            (),
            choices,
            0,
            False,
        )
        for i, length in enumerate((9, 1, 14))
    ]
    models = {BASE_ROW: loaded.model, **dict(enumerate(members))}
    pack = Pack(loaded.model, members)
    pack.eval()
    read: list[torch.Size] = []
    embedding = pack.model.get_input_embeddings()
    embedding.register_forward_hook(lambda module, inputs, output: read.append(inputs[0].shape))
    answers = choose(Respondents(pack, list(models), loaded.tokenizer), items)
    if shared:
        assert read[0] == (len(models), shared)
        assert read[1][1] == 14 + 2
    for model, given in zip(models.values(), answers, strict=True):
        for item, answer in zip(items, given, strict=True):
            expected = [score_alone(model, item.prompt_ids, tokens) for tokens in choices]
            assert answer.log_likelihoods == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def score_alone(model: Any, prompt: tuple[int, ...], completion: tuple[int, ...]) -> float:
    ids = torch.tensor([prompt + completion])
    values = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return sum(float(row[token]) for row, token in zip(values, completion, strict=True))


def test_reading_costs_each_row_its_own_members_product_alone() -> None:
    """Products of eight members' rows are those of eight runs, not each row's with all members."""
    projection, rows = nn.Linear(32, 24, bias=False), Rows()
    pairs = [(torch.randn(4, 32), torch.randn(24, 4)) for _ in range(8)]
    adapters = {
        member: LowRank(nn.Parameter(down), nn.Parameter(up), 1.0, 0.0, MaskKey(0, ""))
        for member, (down, up) in enumerate(pairs)
    }
    packed = PackedProjection(projection, adapters, rows)
    owners = [BASE_ROW, BASE_ROW, *(member for member in range(8) for _ in range(3))]
    rows.assign(owners)
    x = torch.randn(len(owners), 5, 32)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        out = packed(x)
    whole, own = 2 * 5 * len(owners) * 32 * 24, 5 * 24 * 2 * 4 * (32 + 24)
    assert whole < counter.get_total_flops() <= whole + own
    for row, owner in enumerate(owners):
        expected = projection(x[row])
        if owner != BASE_ROW:
            expected = expected + x[row] @ adapters[owner].down.T @ adapters[owner].up.T
        torch.testing.assert_close(out[row], expected)
