"""What methods do in training, against PEFT's own loops and the papers' formulas."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import STEPS, attach, examples, logits, settings, train
from peft import PeftModel
from peft.optimizers import create_lorafa_optimizer
from recipes import PASSES
from scipy.stats import kstest, truncnorm
from tiny_models import load_tiny
from torch import nn
from transformers import GenerationConfig

from harness.adapters.attach import attach_adapter
from harness.adapters.hooks import make_optimizer
from harness.adapters.own.bottleneck import BottleneckProjection
from harness.adapters.own.increlora import RESERVE, GrowingProjection, Growth, IncreLoraModel
from harness.adapters.peft_configs import find_allocation
from harness.adapters.storage import load_adapter, save_adapter
from harness.config.schema import AdapterConfig
from harness.data.encoding import EncodedExample
from harness.errors import UserError
from harness.evaluation.generation import WritingRules, decode
from harness.evaluation.respondents import Respondents
from harness.evaluation.scoring import choose
from harness.models.loading import LoadedModel
from harness.models.projections import Projection, map_modules
from harness.training.loop import Recipe, TrainResult, train_pack
from harness.training.packed_model import Pack, lora_layers
from tasks.base import Example


def as_batch(rows: list[EncodedExample]) -> dict[str, torch.Tensor]:
    width = max(row.length for row in rows)
    ids, labels = torch.zeros(len(rows), width).long(), torch.full((len(rows), width), -100)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : row.length] = torch.tensor(row.prompt_ids + row.completion_ids)
        labels[place, len(row.prompt_ids) : row.length] = torch.tensor(row.completion_ids)
        mask[place, : row.length] = 1
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def trained(member: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in member.named_parameters() if p.requires_grad}


def train_constant(loaded: LoadedModel, member: Any, adapter: AdapterConfig, steps: int) -> None:
    recipe = Recipe([examples()] * steps, 1e-2, "constant", 0.0, 0.0, 1.0, 0, adapter)
    pack = Pack(loaded.model, [member], [0])
    (result,) = train_pack(pack, [recipe], PASSES, pad_token_id=0)
    assert isinstance(result, TrainResult), result


def load_double() -> LoadedModel:
    """GPT-2, for Llama computes its norms in fp32 whatever it is told."""
    loaded = load_tiny("gpt2")
    loaded.model.double()
    return loaded


def attach_double(loaded: LoadedModel, adapter: AdapterConfig) -> PeftModel:
    member = attach(loaded, adapter).double()
    assert isinstance(member, PeftModel)
    return member


@pytest.mark.parametrize("method", ["adalora", "dora", "prefix", "prompt", "lora_fa"])
def test_weights_after_training_are_those_of_a_stock_peft_loop(method: str) -> None:
    """The loss is PEFT's own forward pass's, which adds AdaLoRA's penalty and prepends prompts."""
    adapter = settings(method)
    loaded = load_double()
    ours = attach_double(loaded, adapter)
    train_constant(loaded, ours, adapter, STEPS)

    stock = attach_double(load_double(), adapter)
    # GPT-2 has dropout of its own, which a frozen base does without here.
    stock.eval()
    if method == "lora_fa":
        optimizer: Any = create_lorafa_optimizer(stock, r=4, lora_alpha=16, lr=1e-2)
    else:
        parameters = [p for p in stock.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.0)
    for step in range(STEPS):
        stock(**as_batch(examples())).loss.backward()
        nn.utils.clip_grad_norm_([p for p in stock.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        if method == "adalora":
            stock.base_model.update_and_allocate(step)
        optimizer.zero_grad()
    expected = trained(stock)
    assert expected
    # LoRA-FA's optimizer computes in bf16, where the last bit of a gradient may tip a rounding;
    # DoRA's first gradients of A are tiny, and AdamW divides them by themselves.
    tolerance = {"lora_fa": 1e-3, "dora": 1e-5}.get(method, 1e-6)
    for name, tensor in trained(ours).items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=tolerance, msg=name)


def test_lora_fa_leaves_a_as_it_was_drawn() -> None:
    loaded, adapter = load_tiny("llama"), settings("lora_fa")
    member = attach(loaded, adapter)
    drawn = {n: p.detach().clone() for n, p in member.named_parameters() if "lora_A" in n}
    train(loaded, member, adapter)
    after = dict(member.named_parameters())
    assert all(torch.equal(tensor, after[name]) for name, tensor in drawn.items())
    assert all(p.abs().max() > 0 for n, p in after.items() if "lora_B" in n)


def test_lora_plus_gives_b_its_ratio_of_the_rate() -> None:
    loaded, adapter = load_tiny("llama"), replace(settings("lora_plus"), learning_rate_ratio=7.0)
    member = attach(loaded, adapter)
    optimizer = make_optimizer(member, adapter, learning_rate=1e-3, weight_decay=0.0)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    named = trained_parameters(member)
    assert {rates[id(p)] for n, p in named.items() if "lora_A" in n} == {1e-3}
    assert {rates[id(p)] for n, p in named.items() if "lora_B" in n} == {7e-3}


def trained_parameters(member: Any) -> dict[str, nn.Parameter]:
    return {name: p for name, p in member.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(("rank", "initial", "steps"), [(4, 6, 10), (2, 12, 10), (3, 5, 31)])
def test_adalora_ends_with_the_ranks_of_its_budget(
    rank: int, initial: int, steps: int, tmp_path: Path
) -> None:
    loaded = load_tiny("llama")
    adapter = replace(settings("adalora"), rank=rank, initial_rank=initial)
    mapped = map_modules(loaded.model, loaded.model.config)
    projections = mapped.select(("o", "fc1", "fc2"))
    member = attach_adapter(loaded.model, projections, adapter, seed=0, steps=steps)
    train_constant(loaded, member, adapter, steps)
    pattern = member.peft_config["default"].rank_pattern
    assert sum(map(sum, pattern.values())) == rank * len(projections)
    save_adapter(member, tmp_path, "a/base")
    saved = load_adapter(loaded.model, tmp_path)
    kept = [p.shape[0] for n, p in saved.named_parameters() if "lora_A" in n]
    assert sum(kept) == rank * len(projections)


@pytest.mark.parametrize(("rank", "initial", "steps"), [(4, 2, 13), (12, 2, 10), (3, 3, 10)])
def test_increlora_ends_with_the_ranks_of_its_budget(
    rank: int, initial: int, steps: int, tmp_path: Path
) -> None:
    loaded = load_tiny("llama")
    adapter = replace(settings("increlora"), rank=rank, initial_rank=initial)
    mapped = map_modules(loaded.model, loaded.model.config)
    projections = mapped.select(("o", "fc1", "fc2"))
    member = attach_adapter(loaded.model, projections, adapter, seed=0, steps=steps)
    assert isinstance(member, IncreLoraModel)
    train_constant(loaded, member, adapter, steps)
    assert sum(member.ranks.values()) == rank * len(projections)
    save_adapter(member, tmp_path, "a/base")
    stock = PeftModel.from_pretrained(load_tiny("llama").model, str(tmp_path))
    kept = [p.shape[0] for n, p in stock.named_parameters() if "lora_A" in n]
    assert sum(kept) == rank * len(projections)
    torch.testing.assert_close(logits(stock), logits(member), rtol=0, atol=1e-5)


def projection(inputs: int = 5, outputs: int = 3) -> Projection:
    return Projection("p", "p", 0, ("o",), inputs, outputs, 0)


def test_increlora_computes_and_judges_as_defined() -> None:
    """W x + alpha / r sum e_i b_i (a_i x); importance |W' grad| / sqrt(n), smoothed twice."""
    torch.manual_seed(0)
    base = nn.Linear(5, 3)
    grown = GrowingProjection(base, projection(), 2, alpha=8.0, seed=1)
    with torch.no_grad():
        grown.e[0].copy_(torch.tensor([[0.5], [-2.0]]))
    new = grown.add_reserve()
    grown.watch()
    a, b = torch.cat(list(grown.a)), torch.cat(list(grown.b), 1)
    values = torch.tensor([0.5, -2.0, RESERVE])
    update = 8.0 / 2 * sum(values[i] * torch.outer(b[:, i], a[i]) for i in range(3))
    x = torch.randn(4, 5)
    out = grown(x)
    torch.testing.assert_close(out, base(x) + x @ update.T)
    (out**2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in new)
    gradient = (2 * out).T @ x
    score = float((update * gradient).abs().sum()) / math.sqrt(15)
    grown.judge()
    smoothed = 0.15 * score
    assert grown.smoothed == pytest.approx(smoothed, rel=1e-5)
    assert grown.importance == pytest.approx(smoothed * 0.15 * (score - smoothed), rel=1e-5)
    value = grown.grow()
    assert grown.rank == 3
    assert value.item() == pytest.approx(RESERVE)
    assert value.requires_grad


def test_increlora_grows_where_importance_is_highest() -> None:
    model = nn.ModuleDict({name: nn.Linear(4, 4) for name in "abc"})
    projections = [replace(projection(4, 4), path=name) for name in "abc"]
    member = IncreLoraModel(model, projections, 1, 1.0, seed=0)
    growth = Growth(member, target=2, first=0, last=3)
    growth.begin()
    for each, importance in zip(member.growing.values(), (1.0, 3.0, 2.0), strict=True):
        each.importance = importance
    for step in range(4):
        growth.grow(step)
    # One a round, each time the most important, which nothing has judged anew.
    assert member.ranks == {"a": 1, "b": 4, "c": 1}
    assert not any(each.has_reserve for each in member.growing.values())


def test_bottleneck_is_houlsbys_and_begins_near_the_identity() -> None:
    torch.manual_seed(0)
    base = nn.Linear(6, 4)
    adapted = BottleneckProjection(base, 4, 3, "gelu")
    x = torch.randn(5, 6)
    assert (adapted(x) - base(x)).abs().max() < 1e-3
    assert adapted.down.weight.abs().max() <= 0.02
    with torch.no_grad():
        for p in (*adapted.down.parameters(), *adapted.up.parameters()):
            p.normal_()
    h = base(x)
    low = h @ adapted.down.weight.T + adapted.down.bias
    gelu = 0.5 * low * (1 + torch.erf(low / math.sqrt(2)))
    torch.testing.assert_close(adapted(x), h + gelu @ adapted.up.weight.T + adapted.up.bias)


def test_bottleneck_begins_with_normal_weights_cut_at_two_deviations() -> None:
    """Houlsby et al., 2019, arXiv:1902.00751, section 3.1, at enough weights to see the cut."""
    torch.manual_seed(0)
    adapted = BottleneckProjection(nn.Linear(8, 200), 200, 50, "gelu")
    expected = truncnorm(-2, 2, scale=0.01)
    for layer in (adapted.down, adapted.up):
        weights = layer.weight.detach().flatten().numpy()
        assert kstest(weights, expected.cdf).pvalue > 0.001
        assert 0.0195 < abs(weights).max() <= 0.02


@pytest.mark.parametrize(("roles", "a_block"), [(("o", "fc2"), 2), (("fc2",), 1)])
def test_bottleneck_stands_once_or_twice_in_a_block(roles: tuple[str, ...], a_block: int) -> None:
    loaded = load_tiny("llama")
    mapped = map_modules(loaded.model, loaded.model.config)
    member = attach_adapter(loaded.model, mapped.select(roles), settings("bottleneck"), seed=0)
    found = [m for m in member.modules() if isinstance(m, BottleneckProjection)]
    assert len(found) == a_block * mapped.block_count


def prompted(method: str) -> tuple[LoadedModel, PeftModel]:
    loaded, adapter = load_tiny("llama"), settings(method)
    member = attach(loaded, adapter)
    train(loaded, member, adapter)
    assert isinstance(member, PeftModel)
    return loaded, member.eval()


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_virtual_tokens_write_what_peft_writes(method: str) -> None:
    loaded, member = prompted(method)
    prompts = [row.prompt_ids for row in examples(3)]
    pack = Pack(loaded.model, [member])
    pack.eval()
    with torch.no_grad():
        together = decode(pack, [0] * 3, prompts, WritingRules(8, [1], pad_token=0))
    for prompt, written in zip(prompts, together, strict=True):
        ids = torch.tensor([prompt])
        settings_ = GenerationConfig(
            max_new_tokens=8, do_sample=False, pad_token_id=0, eos_token_id=[1]
        )
        stock = member.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings_
        )
        assert written == stock[0, len(prompt) :].tolist()


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_virtual_tokens_choose_what_peft_chooses(method: str) -> None:
    loaded, member = prompted(method)
    shared = tuple(range(100, 112))
    rows = [
        replace(
            row,
            example=Example(str(i), "", "", "", "", "", ("x", "y")),
            prompt_ids=shared + row.prompt_ids if i else row.prompt_ids,
            choice_ids=((7, 8), (9, 10, 11)),
        )
        for i, row in enumerate(examples(3))
    ]
    for batch in (rows, rows[1:]):  # Without and with a beginning that all prompts share.
        pack = Pack(loaded.model, [member])
        pack.eval()
        (answers,) = choose(Respondents(pack, [0], loaded.tokenizer), batch)
        for row, answer in zip(batch, answers, strict=True):
            for choice, total in zip(row.choice_ids, answer.log_likelihoods, strict=True):
                ids = torch.tensor([row.prompt_ids + choice])
                with torch.no_grad():
                    output = member(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
                values = output[-ids.shape[1] :].log_softmax(-1)
                places = range(len(row.prompt_ids) - 1, ids.shape[1] - 1)
                expected = sum(
                    float(values[place, token]) for place, token in zip(places, choice, strict=True)
                )
                assert total == pytest.approx(expected, abs=1e-4)


def test_too_few_steps_to_move_ranks_are_refused() -> None:
    with pytest.raises(UserError, match="2 training steps are too few for adalora"):
        find_allocation(settings("adalora"), 2)


def test_first_step_of_pissa_moves_the_weights_and_not_the_base() -> None:
    """Two variants side by side: what one takes from the base the other still finds there."""
    loaded = load_tiny("llama")
    first, second = (attach(loaded, settings("pissa"), seed) for seed in (0, 1))
    train(loaded, first, settings("pissa"))
    path = next(n for n, _ in second.get_base_model().named_modules() if n.endswith("o_proj"))
    layer = second.get_base_model().get_submodule(path)
    rest = layer.base_layer.weight + layer.scaling["default"] * (
        layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    )
    torch.testing.assert_close(rest, loaded.model.get_submodule(path).weight, rtol=0, atol=1e-5)


def test_lora_ga_begins_along_the_gradient_of_the_completions_loss() -> None:
    """Wang et al., 2024, arXiv:2407.05000, section 3.2: A is of the gradient's first 2r directions.

    The loss is computed here row by row, from the probability of each token of a completion.
    """
    loaded, adapter = load_tiny("llama"), settings("lora_ga")
    member = attach(loaded, adapter)
    assert isinstance(member, PeftModel)
    # The last block sees as many gradients as there are labels, so that their span is found whole.
    last = {path: layer for path, layer in lora_layers(member) if ".1." in path}
    layers = {path: last[path] for path in last if path.endswith(("o_proj", "down_proj"))}
    weights = {path: loaded.model.get_submodule(path).weight for path in layers}
    for weight in weights.values():
        weight.requires_grad_(True)
    for row in examples():
        logits_ = loaded.model(input_ids=torch.tensor([row.prompt_ids + row.completion_ids])).logits
        said = logits_[0, len(row.prompt_ids) - 1 : -1].log_softmax(-1)
        (-said[range(len(row.completion_ids)), list(row.completion_ids)].sum()).backward()
    assert len(layers) == 2
    for path, layer in layers.items():
        _, _, directions = torch.linalg.svd(weights[path].grad)
        first = directions[: 2 * layer.r["default"]]
        down = layer.lora_A["default"].weight.detach()
        outside = down - down @ first.T @ first
        assert outside.norm() < 1e-3 * down.norm(), path
