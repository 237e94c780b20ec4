"""A row is its own: no neighbour, and no cut of a step, changes what a model makes of it."""

import copy
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from peft import PeftModel
from tiny_models import load_tiny
from torch import nn
from transformers import AutoModelForCausalLM, Phi3Config

from harness.adapters.attach import attach_adapter
from harness.config.schema import AdapterConfig, EvaluationConfig
from harness.data.encoding import EncodedExample
from harness.evaluation.generation import WritingRules, decode
from harness.evaluation.respondents import Respondents
from harness.evaluation.scoring import choose, measure_losses
from harness.models.loading import LoadedModel
from harness.models.projections import map_modules
from harness.training.loop import Passes, Recipe, TrainResult, train_pack
from harness.training.packed_model import BASE_ROW, Pack, lora_layers
from tasks.base import Example

BOUNDARY = 20


def make_example(draw: random.Random, prompt: int, completion: int = 4) -> EncodedExample:
    tokens = [draw.randrange(5, 1000) for _ in range(prompt + completion)]
    choices = tuple(tuple(draw.randrange(5, 1000) for _ in range(length)) for length in (1, 3))
    example = Example(f"{prompt}-{draw.random()}", "", "", "", "", "", choices=("A", "B"))
    return EncodedExample(
        example, tuple(tokens[:prompt]), tuple(tokens[prompt:]), choices, 0, False
    )


def attach(loaded: LoadedModel, roles: Sequence[str], seed: int, dropout: float = 0) -> PeftModel:
    mapped = map_modules(loaded.model, loaded.model.config)
    adapter = AdapterConfig(rank=4, alpha=8, dropout=dropout)
    member = attach_adapter(loaded.model, mapped.select(roles), adapter, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for _, layer in lora_layers(member):
        weight = layer.lora_B["default"].weight
        weight.data.copy_(torch.randn(weight.shape, generator=generator) / 10)
    return member


def take_step(
    loaded: LoadedModel,
    members: Sequence[PeftModel],
    examples: Sequence[Sequence[EncodedExample]],
    passes: Passes,
) -> list[TrainResult]:
    """One step of all members, each on its own examples."""
    recipes = [
        Recipe(
            steps=[own], learning_rate=1e-2, schedule="constant", warmup_ratio=0,
            weight_decay=0, max_grad_norm=1e9, seed=seed,
        )
        for seed, own in enumerate(examples)
    ]  # fmt: skip
    pack = Pack(loaded.model, members, list(range(len(members))))
    results = train_pack(pack, recipes, passes, pad_token_id=0)
    return [result for result in results if isinstance(result, TrainResult)]


@pytest.fixture(scope="module")
def longrope() -> LoadedModel:
    """Phi-3 with two scales that are far apart, the second beyond 20 tokens."""
    half = 8
    config = Phi3Config(
        vocab_size=1024, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        original_max_position_embeddings=BOUNDARY, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 1.0,
            "original_max_position_embeddings": BOUNDARY,
            "short_factor": [1.0] * half, "long_factor": [4.0 + i for i in range(half)],
        },
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.15)
    model.requires_grad_(False).eval()
    return LoadedModel(model, load_tiny().tokenizer, 256)


def find_log_probabilities(model: Any, ids: Sequence[int], first: int) -> list[float]:
    """Stock transformers', of the tokens from `first` on, of a row that is alone."""
    with torch.no_grad():
        values = model(input_ids=torch.tensor([ids[:-1]])).logits[0].log_softmax(-1)
    return [float(values[place - 1, ids[place]]) for place in range(first, len(ids))]


def test_a_row_of_longrope_scores_as_it_does_alone(longrope: LoadedModel) -> None:
    draw = random.Random(0)
    examples = [make_example(draw, length) for length in (6, 12, 17, 18, 19, 20, 21, 30, 9)]
    member = attach(longrope, ("o", "fc2"), seed=1)
    pack = Pack(longrope.model, [member])
    respondents = Respondents(pack, [BASE_ROW, 0], longrope.tokenizer)
    limits = EvaluationConfig(batch_size=16)
    measured = measure_losses(respondents, examples, limits=limits)
    with torch.inference_mode():
        chosen = choose(respondents, examples)
    for model, losses, answers in zip(
        (longrope.model, member.eval()), measured, chosen, strict=True
    ):
        for example, loss, answer in zip(examples, losses, answers, strict=True):
            prompt = list(example.prompt_ids)
            alone = find_log_probabilities(
                model, prompt + list(example.completion_ids), len(prompt)
            )
            # The harness runs the row's last token too, which no label follows.
            if len(prompt) + 4 != BOUNDARY + 1:
                assert loss.scores["loss"] == pytest.approx(-sum(alone) / 4, abs=1e-4)
            for choice, value in zip(example.choice_ids, answer.log_likelihoods, strict=True):
                alone = find_log_probabilities(model, prompt + list(choice), len(prompt))
                assert value == pytest.approx(sum(alone), abs=1e-4)


def test_a_row_of_longrope_writes_what_it_writes_alone(longrope: LoadedModel) -> None:
    draw = random.Random(1)
    prompts = [make_example(draw, length).prompt_ids for length in (5, 9, 12, 15, 18, 20, 21, 30)]
    member = attach(longrope, ("o", "fc2"), seed=1).eval()
    pack = Pack(longrope.model, [member])
    pack.eval()
    rows = [(owner, prompt) for owner in (BASE_ROW, 0) for prompt in prompts]
    with torch.inference_mode():
        written = decode(
            pack, [r[0] for r in rows], [r[1] for r in rows], WritingRules(8, [2], pad_token=0)
        )
    for (owner, prompt), tokens in zip(rows, written, strict=True):
        model = longrope.model if owner == BASE_ROW else member
        alone = model.generate(
            input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)),
            max_new_tokens=8, do_sample=False, pad_token_id=0, eos_token_id=2,
        )  # fmt: skip
        assert tokens == [t for t in alone[0, len(prompt) :].tolist() if t != 2]


def test_rows_of_longrope_train_as_each_does_alone(longrope: LoadedModel) -> None:
    """Two variants, whose rows lie on different sides of the boundary at the same places."""
    draw = random.Random(2)
    sets = [[make_example(draw, n) for n in lengths] for lengths in ((6, 25, 7, 30), (28, 8, 9, 6))]
    packed = [attach(longrope, ("o",), seed=1), attach(longrope, ("fc1",), seed=2)]
    together = take_step(longrope, packed, sets, Passes(4096))
    for number, (roles, own) in enumerate(zip((("o",), ("fc1",)), sets, strict=True)):
        member = attach(longrope, roles, seed=number + 1)
        total = sum(len(each.completion_ids) for each in own)
        for each in own:
            ids = torch.tensor([each.prompt_ids + each.completion_ids])
            labels = ids.clone()
            labels[:, : len(each.prompt_ids)] = -100
            loss = member(input_ids=ids, labels=labels).loss
            (loss * len(each.completion_ids) / total).backward()
        for path, layer in lora_layers(member):
            gradient = layer.lora_B["default"].weight.grad
            own_norm = together[number].first_gradients[path]
            assert own_norm == pytest.approx(float(gradient.square().sum()), rel=1e-3)


@pytest.mark.parametrize("shape", ["opt", "llama"])
def test_dropout_does_not_depend_on_how_a_step_is_cut(shape: str) -> None:
    """OPT's feed-forward takes the tokens of all rows as one list."""
    loaded, draw = load_tiny(shape), random.Random(3)
    examples = [make_example(draw, length) for length in (12, 5, 9, 7)]
    results = [
        take_step(loaded, [attach(loaded, ("o", "fc1", "fc2"), 1, dropout=0.3)], [examples], passes)
        for passes in (Passes(4096), Passes(16), Passes(4096, gradient_accumulation=2))
    ]
    for (result,) in results[1:]:
        assert result.loss == pytest.approx(results[0][0].loss, rel=1e-5)
        assert result.first_gradients == pytest.approx(results[0][0].first_gradients, rel=1e-3)


@pytest.mark.parametrize("is_checkpointing", [False, True])
@pytest.mark.parametrize(
    ("shape", "own"),
    [
        ("opt", {"layerdrop": 0.9, "dropout": 0.5}),
        ("falcon", {"hidden_dropout": 0.5, "attention_dropout": 0.5}),
        ("phimoe", {"router_jitter_noise": 0.5, "input_jitter_noise": 0.5}),
    ],
)
def test_the_bases_own_randomness_is_off(
    shape: str, own: dict[str, float], is_checkpointing: bool
) -> None:
    """A step's loss is that of the adapted model at rest, by transformers' own forward."""
    still = load_tiny(shape)
    config = copy.deepcopy(still.model.config)
    for name, value in own.items():
        assert hasattr(config, name)
        setattr(config, name, value)
    model = type(still.model)(config)
    model.load_state_dict(still.model.state_dict())
    model.requires_grad_(False).eval()
    loaded = LoadedModel(model, still.tokenizer, still.context_length)
    example = make_example(random.Random(4), 12)
    (result,) = take_step(
        loaded,
        [attach(loaded, ("o",), seed=1)],
        [[example]],
        Passes(4096, gradient_checkpointing=is_checkpointing),
    )
    ids = torch.tensor([example.prompt_ids + example.completion_ids])
    labels = ids.clone()
    labels[:, : len(example.prompt_ids)] = -100
    expected = attach(loaded, ("o",), seed=1).eval()(input_ids=ids, labels=labels).loss
    assert result.loss == pytest.approx([float(expected)], rel=1e-4)
