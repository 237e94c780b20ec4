"""A pack against stock PEFT: each member alone, on a base of its own, in a loop written here."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from recipes import PASSES, RECIPE
from tiny_models import DECODERS, load_tiny
from torch import nn

from harness.adapters.attach import attach_adapter, trainable_parameters
from harness.adapters.storage import save_adapter
from harness.config.schema import AdapterConfig
from harness.config.target_sets import order_roles
from harness.data.encoding import EncodedExample
from harness.errors import UserError
from harness.models.loading import LoadedModel
from harness.models.projections import map_modules
from harness.training.loop import DivergedError, Recipe, TrainResult, train_pack
from harness.training.packed_model import BASE_ROW, Pack, can_be_packed, lora_layers
from tasks.base import Example

SETS: tuple[tuple[str, ...], ...] = (
    ("q", "k", "v"),
    ("o",),
    ("o", "fc2"),
    ("q", "k", "v", "o", "fc1", "fc2"),
)


@pytest.fixture(scope="module")
def single() -> LoadedModel:
    return load_tiny()


@pytest.fixture(scope="module")
def double() -> LoadedModel:
    """Phi, all of it in fp64: Llama's norms compute in fp32 whatever they are given."""
    return load_tiny("phi", "float64")


def attach(
    loaded: LoadedModel,
    roles: Sequence[str],
    *,
    rank: int = 4,
    alpha: float = 8,
    dropout: float = 0.0,
    seed: int = 0,
    is_random: bool = False,
) -> PeftModel:
    mapped = map_modules(loaded.model, loaded.model.config)
    member = attach_adapter(
        loaded.model,
        mapped.select(tuple(roles)),
        AdapterConfig(rank=rank, alpha=alpha, dropout=dropout),
        seed=seed,
    )
    if is_random:
        generator = torch.Generator().manual_seed(seed)
        for _, layer in lora_layers(member):
            weight = layer.lora_B["default"].weight
            weight.data.copy_(torch.randn(weight.shape, generator=generator) / 10)
    return member


def make_examples(count: int, seed: int = 0) -> list[EncodedExample]:
    """Examples of random tokens and lengths."""
    draw = random.Random(seed)

    def tokens(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw.randrange(5, 1000) for _ in range(draw.randint(low, high)))

    return [
        EncodedExample(
            Example(f"{seed}-{i}", "", "", "", "", ""), tokens(3, 14), tokens(1, 6), (), 0, False
        )
        for i in range(count)
    ]


def make_recipe(steps: Sequence[Sequence[EncodedExample]], **changes: Any) -> Recipe:
    return Recipe(steps=steps, **(RECIPE | changes))


def make_steps(count: int, size: int = 3, seed: int = 0) -> list[list[EncodedExample]]:
    examples = make_examples(count * size, seed)
    return [examples[i * size : (i + 1) * size] for i in range(count)]


def train(
    loaded: LoadedModel,
    members: Sequence[PeftModel],
    recipes: Sequence[Recipe],
    **changes: Any,
) -> list[TrainResult | DivergedError]:
    pack = Pack(loaded.model, members, [recipe.seed for recipe in recipes])
    return train_pack(pack, recipes, replace(PASSES, **changes), pad_token_id=0)


def train_stock(model: PeftModel, recipe: Recipe, base_learning_rate: float) -> list[float]:
    """What a user would write: PEFT's own forward, labels of -100, AdamW, clipping, cosine."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    decay = recipe.weight_decay
    optimizer = torch.optim.AdamW(parameters, lr=base_learning_rate, weight_decay=decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            step / 1
            if step < 1
            else 0.5 * (1 + torch.cos(torch.tensor((step - 1) / 7) * torch.pi).item())
        ),
    )
    losses = []
    model.train()
    for examples in recipe.steps:
        width = max(example.length for example in examples)
        ids = torch.zeros(len(examples), width, dtype=torch.long)
        labels = torch.full_like(ids, -100)
        mask = torch.zeros_like(ids)
        for row, example in enumerate(examples):
            whole = torch.tensor(example.prompt_ids + example.completion_ids)
            ids[row, : len(whole)] = whole
            mask[row, : len(whole)] = 1
            labels[row, len(example.prompt_ids) : len(whole)] = torch.tensor(example.completion_ids)
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
        loss = nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=-100
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


def weights(member: PeftModel) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainable_parameters(member)])


def successes(results: Sequence[TrainResult | DivergedError]) -> list[TrainResult]:
    assert all(isinstance(result, TrainResult) for result in results)
    return [result for result in results if isinstance(result, TrainResult)]


@pytest.mark.parametrize("max_grad_norm", [0.05, 1.0])
def test_weights_are_those_of_stock_peft_trained_apart(
    double: LoadedModel, max_grad_norm: float
) -> None:
    steps = make_steps(8)
    recipes = [
        make_recipe(steps, learning_rate=rate, weight_decay=decay, max_grad_norm=max_grad_norm)
        for rate, decay in ((1e-2, 0.0), (3e-3, 0.1), (1e-2, 0.1), (2e-2, 0.0))
    ]
    members = [attach(double, roles, seed=i) for i, roles in enumerate(SETS)]
    before = [weights(member).clone() for member in members]
    results = successes(train(double, members, recipes))
    for i, roles in enumerate(SETS):
        stock = attach(double, roles, seed=i)
        assert torch.equal(weights(stock), before[i])
        losses = train_stock(stock, recipes[i], recipes[i].learning_rate)
        assert (weights(stock) - before[i]).abs().max() > 1e-3
        torch.testing.assert_close(weights(members[i]), weights(stock), rtol=0, atol=1e-6)
        assert results[i].loss == pytest.approx(losses, rel=1e-6)


def test_losses_are_those_of_stock_peft_in_single_precision(single: LoadedModel) -> None:
    recipe = make_recipe(make_steps(8))
    members = [attach(single, roles) for roles in SETS]
    results = successes(train(single, members, [recipe] * len(SETS)))
    for roles, result in zip(SETS, results, strict=True):
        losses = train_stock(attach(single, roles), recipe, recipe.learning_rate)
        assert result.loss == pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize("trial", range(6))
def test_packing_changes_nothing(double: LoadedModel, trial: int) -> None:
    """Random sets, ranks, alphas, seeds, rates, lengths, data and dropout, in random packs."""
    draw = random.Random(trial)
    roles = ["q", "k", "v", "o", "fc1", "fc2"]
    size = draw.randint(2, 5)
    shared = make_steps(5, seed=trial)
    specs, recipes = [], []
    for number in range(size):
        seed = draw.randrange(1000)
        steps = (
            shared if draw.random() < 0.5 else make_steps(draw.randint(2, 6), draw.randint(1, 4))
        )
        specs.append(
            {
                "roles": order_roles(draw.sample(roles, draw.randint(1, 6))),
                "rank": draw.choice([1, 2, 4, 8]),
                "alpha": draw.choice([1, 8, 16]),
                "dropout": draw.choice([0.0, 0.0, 0.3]),
                "seed": seed,
                "is_random": draw.random() < 0.3,
            }
        )
        recipes.append(
            make_recipe(
                steps,
                learning_rate=10 ** -draw.uniform(1.5, 3),
                schedule=draw.choice(["cosine", "linear", "constant"]),
                weight_decay=draw.choice([0.0, 0.1]),
                max_grad_norm=draw.choice([0.1, 1.0]),
                seed=seed + number,
            )
        )
    limits = {"gradient_accumulation": draw.choice([1, 2]), "max_tokens": 40}
    together = [attach(double, **spec) for spec in specs]
    results = successes(train(double, together, recipes, **limits))
    for member, spec, recipe, result in zip(together, specs, recipes, results, strict=True):
        alone = attach(double, **spec)
        (apart,) = successes(train(double, [alone], [recipe], **limits))
        torch.testing.assert_close(weights(member), weights(alone), rtol=0, atol=1e-9)
        assert result.loss == pytest.approx(apart.loss, rel=1e-9)
        assert result.first_gradients == pytest.approx(apart.first_gradients, rel=1e-9)


def test_every_projection_of_every_member_is_trained(single: LoadedModel) -> None:
    members = [attach(single, roles, seed=i) for i, roles in enumerate(SETS)]
    before = [weights(member).clone() for member in members]
    results = successes(train(single, members, [make_recipe(make_steps(3))] * len(SETS)))
    for member, start, result in zip(members, before, results, strict=True):
        assert len(result.first_gradients) == len(lora_layers(member))
        assert min(result.first_gradients.values()) > 0
        for _, layer in lora_layers(member):
            assert layer.lora_B["default"].weight.abs().max() > 0
        assert not torch.equal(weights(member), start)


def test_first_gradients_are_autograds_own(double: LoadedModel) -> None:
    """The shared first pass, against each member's own backward through stock PEFT."""
    steps = make_steps(1)
    members = [attach(double, roles, seed=i) for i, roles in enumerate(SETS)]
    results = successes(train(double, members, [make_recipe(steps, max_grad_norm=1e-3)] * 4))
    for i, roles in enumerate(SETS):
        stock = attach(double, roles, seed=i)
        train_stock(stock, make_recipe(steps, max_grad_norm=1e9), base_learning_rate=0.0)
        expected = {
            path: layer.lora_B["default"].weight.grad.square().sum().item()
            for path, layer in lora_layers(stock)
        }
        assert results[i].first_gradients == pytest.approx(expected, rel=1e-8)


def test_the_first_pass_runs_once_for_all(single: LoadedModel) -> None:
    rows: list[int] = []
    members = [attach(single, roles) for roles in SETS]
    pack = Pack(single.model, members)
    embedding = pack.model.get_input_embeddings()
    embedding.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    train_pack(pack, [make_recipe(make_steps(3, size=2))] * 4, PASSES, pad_token_id=0)
    assert rows == [2, 8, 8]


def test_members_take_turns_where_a_row_of_each_is_too_much(single: LoadedModel) -> None:
    """`test_packing_changes_nothing` shows that what they learn is the same."""
    steps = [[each] for each in sorted(make_examples(3), key=lambda each: each.length)]
    longest = steps[-1][0].length
    shapes: list[tuple[int, ...]] = []
    pack = Pack(single.model, [attach(single, roles) for roles in SETS])
    embedding = pack.model.get_input_embeddings()
    embedding.register_forward_hook(lambda module, inputs, output: shapes.append(inputs[0].shape))
    passes = replace(PASSES, max_tokens=3 * longest)
    train_pack(pack, [make_recipe(steps)] * 4, passes, pad_token_id=0)
    assert all(rows * length <= passes.max_tokens for rows, length in shapes)
    assert shapes[-2:] == [(2, longest)] * 2  # and not three of them, then one


def test_a_member_that_diverges_leaves_and_disturbs_nobody(single: LoadedModel) -> None:
    steps = make_steps(6)
    calm = make_recipe(steps)
    wild = make_recipe(steps, learning_rate=1e38, schedule="constant", warmup_ratio=0.0)
    members = [attach(single, roles) for roles in SETS]
    results = train(single, members, [calm, wild, calm, calm])
    assert isinstance(results[1], DivergedError)
    assert "lower train.learning_rate, 1e+38" in str(results[1])
    left = [0, 2, 3]
    without = [attach(single, SETS[i]) for i in left]
    expected = successes(train(single, without, [calm] * 3))
    for i, member, result in zip(left, without, expected, strict=True):
        torch.testing.assert_close(weights(members[i]), weights(member), rtol=1e-4, atol=1e-6)
        mine = results[i]
        assert isinstance(mine, TrainResult)
        assert mine.loss == pytest.approx(result.loss, rel=1e-5)
    assert all(weights(members[i]).isfinite().all() for i in left)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_one_members_broken_weights_reach_no_other_row(single: LoadedModel, poison: float) -> None:
    members = [attach(single, ("o", "fc2"), is_random=True, seed=i) for i in range(3)]
    pack = Pack(single.model, members)
    ids, mask = torch.randint(5, 1000, (6, 9)), torch.ones(6, 9, dtype=torch.long)
    pack.train()
    pack.rows.split([0, 1, 2])
    clean = pack.model(input_ids=ids, attention_mask=mask).logits
    for parameter in trainable_parameters(members[1]):
        parameter.data.fill_(poison)
    broken = pack.model(input_ids=ids, attention_mask=mask).logits
    assert torch.equal(clean[:2], broken[:2])
    assert torch.equal(clean[4:], broken[4:])
    assert broken[2:4].isnan().any()


@pytest.mark.parametrize("size", [1e30, 1e38])
def test_one_members_wild_weights_reach_no_other_row_in_scoring(
    single: LoadedModel, size: float
) -> None:
    """They overflow in rows of others, before they are left out there."""
    members = [attach(single, ("o", "fc2"), is_random=True, seed=i) for i in range(3)]
    pack = Pack(single.model, members)
    ids, mask = torch.randint(5, 1000, (4, 9)), torch.ones(4, 9, dtype=torch.long)
    pack.rows.assign([0, 1, BASE_ROW, 2])
    clean = run(pack.model, ids, mask)
    for parameter in trainable_parameters(members[1]):
        parameter.data.fill_(size)
    pack.eval()
    broken = run(pack.model, ids, mask)
    for row in (0, 2, 3):
        assert torch.equal(clean[row], broken[row])
    assert not broken[1].isfinite().all()


def test_weights_that_are_not_finite_are_refused_in_scoring(single: LoadedModel) -> None:
    members = [attach(single, ("o",), is_random=True, seed=i) for i in range(2)]
    pack = Pack(single.model, members)
    trainable_parameters(members[0])[0].data[0, 0] = torch.inf
    pack.rows.assign([0, 1])
    ids, mask = torch.randint(5, 1000, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    with pytest.raises(UserError, match="not finite"):
        run(pack.model, ids, mask)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_checkpointing_and_dropout_give_the_same_weights(
    single: LoadedModel, checkpointing: bool
) -> None:
    steps = make_steps(3)
    members = [attach(single, roles, dropout=0.2, seed=5) for roles in SETS]
    plain = [attach(single, roles, dropout=0.2, seed=5) for roles in SETS]
    recipes = [make_recipe(steps, seed=5)] * 4
    train(single, members, recipes, gradient_checkpointing=checkpointing)
    train(single, plain, recipes)
    for a, b in zip(members, plain, strict=True):
        torch.testing.assert_close(weights(a), weights(b), rtol=1e-5, atol=1e-7)


def run(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, attention_mask=mask).logits
    return logits


@pytest.mark.parametrize("model_type", DECODERS)
def test_rows_compute_what_stock_peft_computes(model_type: str) -> None:
    """Fused projections, Conv1D and layers that flatten their input included."""
    loaded = load_tiny(model_type)
    mapped = map_modules(loaded.model, loaded.model.config)
    sets = [("q", "k", "v"), ("o",), ("o", "fc2"), ("fc1",), ("mix_in",), ("mix_in", "mix_out")]
    sets = [s for s in sets if set(s) <= set(mapped.roles)]
    sets = [s for s in sets if all(p.is_packable for p in mapped.select(s))][:4]
    ranks = (2, 8, 4, 1)
    members = [
        attach(loaded, s, rank=ranks[i], alpha=2 + i, seed=i, is_random=True)
        for i, s in enumerate(sets)
    ]
    assert all(can_be_packed(member, loaded.model) for member in members)
    ids = torch.randint(5, 1000, (2, 7))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    stock = [run(member.eval(), ids, mask) for member in members]
    base = run(loaded.model, ids, mask)
    pack = Pack(loaded.model, members)
    count = len(members)
    pack.rows.split(range(count))
    blocks = run(pack.model, ids.repeat(count, 1), mask.repeat(count, 1))
    torch.testing.assert_close(blocks, torch.cat(stock), rtol=1e-4, atol=1e-5)
    owners = [BASE_ROW, *range(count), 0, BASE_ROW]
    pack.rows.assign(owners)
    mixed = run(pack.model, ids[:1].repeat(len(owners), 1), mask[:1].repeat(len(owners), 1))
    for row, owner in enumerate(owners):
        expected = base if owner == BASE_ROW else stock[owner]
        torch.testing.assert_close(mixed[row], expected[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(run(loaded.model, ids, mask), base, rtol=0, atol=0)


def test_what_was_trained_together_loads_in_stock_peft(single: LoadedModel, tmp_path: Path) -> None:
    members = [attach(single, roles, rank=2 + i, seed=i) for i, roles in enumerate(SETS)]
    train(single, members, [make_recipe(make_steps(4))] * 4)
    ids, mask = torch.randint(5, 1000, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    pack = Pack(single.model, members)
    pack.rows.split(range(4))
    packed = run(pack.model, ids.repeat(4, 1), mask.repeat(4, 1))
    for i, member in enumerate(members):
        save_adapter(member, tmp_path / str(i), "base")
        stock = PeftModel.from_pretrained(load_tiny().model, str(tmp_path / str(i))).eval()
        torch.testing.assert_close(packed[2 * i : 2 * i + 2], run(stock, ids, mask))


def test_stacked_experts_run_alone_and_train(tmp_path: Path) -> None:
    loaded = load_tiny("mixtral")
    member = attach(loaded, ("o", "fc2"))
    assert not can_be_packed(member, loaded.model)
    with pytest.raises(ValueError, match="alone"):
        Pack(loaded.model, [member, attach(loaded, ("o",))])
    (result,) = successes(
        train(loaded, [member], [make_recipe([make_examples(4)] * 20, warmup_ratio=0.0)])
    )
    assert result.loss[-1] < result.loss[0] - 0.1
    assert min(result.first_gradients.values()) > 0


def test_the_bases_own_dropout_is_off() -> None:
    """GPT-2 comes with a tenth: frozen weights that drop out would differ with the pack."""
    loaded = load_tiny("gpt2")
    steps = [make_examples(4)] * 4
    members = [attach(loaded, ("o",)), attach(loaded, ("o", "fc2"))]
    a = successes(train(loaded, members, [make_recipe(steps)] * 2))
    (b,) = successes(train(loaded, [attach(loaded, ("o",))], [make_recipe(steps)]))
    assert a[0].loss == pytest.approx(b.loss, rel=1e-5)


def with_common_beginning(
    steps: Sequence[Sequence[EncodedExample]], tokens: Sequence[int]
) -> list[list[EncodedExample]]:
    return [
        [replace(item, prompt_ids=(*tokens, *item.prompt_ids)) for item in step] for step in steps
    ]


def test_what_rows_begin_with_is_read_once_and_learns_from_all_of_them(
    double: LoadedModel,
) -> None:
    """Against stock PEFT, which reads it in every row; one prompt is nothing but the beginning."""
    common = tuple(range(100, 120))
    steps = with_common_beginning(make_steps(8), common)
    steps[2][1] = replace(steps[2][1], prompt_ids=common[:15])
    recipe = make_recipe(steps)
    read: list[int] = []
    members = [attach(double, roles, seed=i) for i, roles in enumerate(SETS)]
    pack = Pack(double.model, members)
    embedding = pack.model.get_input_embeddings()
    embedding.register_forward_hook(lambda module, inputs, output: read.append(inputs[0].numel()))
    results = successes(train_pack(pack, [recipe] * 4, PASSES, pad_token_id=0))
    whole = sum(4 * 3 * max(item.length for item in step) for step in steps)
    assert sum(read) < whole - 7 * 4 * 2 * 14
    for i, roles in enumerate(SETS):
        stock = attach(double, roles, seed=i)
        losses = train_stock(stock, recipe, recipe.learning_rate)
        torch.testing.assert_close(weights(members[i]), weights(stock), rtol=0, atol=1e-6)
        assert results[i].loss == pytest.approx(losses, rel=1e-6)


def test_members_begin_each_with_tokens_of_their_own(double: LoadedModel) -> None:
    """And the one with fewer rows in a step has empty ones beside the other's."""
    first = make_recipe(with_common_beginning(make_steps(4), range(100, 120)))
    second = make_recipe(with_common_beginning(make_steps(4, size=2, seed=1), range(200, 212)))
    members = [attach(double, roles) for roles in SETS[:2]]
    train(double, members, [first, second])
    for member, roles, recipe in zip(members, SETS, (first, second), strict=False):
        alone = attach(double, roles)
        train(double, [alone], [recipe])
        torch.testing.assert_close(weights(member), weights(alone), rtol=0, atol=1e-9)


@pytest.mark.parametrize("changes", [{"dropout": 0.3}, {"checkpointing": True}])
def test_beginnings_are_each_rows_own_where_rows_drop_out_or_are_computed_twice(
    single: LoadedModel, changes: dict[str, Any]
) -> None:
    steps = with_common_beginning(make_steps(2), range(100, 120))
    lengths: list[int] = []
    pack = Pack(single.model, [attach(single, ("o",), dropout=changes.get("dropout", 0.0))])
    embedding = pack.model.get_input_embeddings()
    embedding.register_forward_hook(lambda module, inputs, output: lengths.append(len(inputs[0])))
    passes = replace(PASSES, gradient_checkpointing=changes.get("checkpointing", False))
    train_pack(pack, [make_recipe(steps)], passes, pad_token_id=0)
    assert lengths == [3, 3]
