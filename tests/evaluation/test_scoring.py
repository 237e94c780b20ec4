import json
import sys

import jsonschema
import pytest
import torch
from tiny_models import load_tiny

from harness.config.schema import EvaluationConfig
from harness.data.encoding import EncodedExample, EncodingRules, encode_examples
from harness.errors import UserError
from harness.evaluation.constrained import JsonConstraint
from harness.evaluation.generation import WritingRules, find_end_tokens
from harness.evaluation.respondents import Respondents
from harness.evaluation.scoring import Answer, ScoredExample, choose, generate, score_pack
from harness.models.loading import LoadedModel
from harness.training.packed_model import BASE_ROW, Pack
from tasks.base import Example, TaskSpec


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return load_tiny(request.param)


SPEC = TaskSpec(
    name="trial",
    columns=(),
    to_example=lambda row: pytest.fail("not asked for"),
    score=lambda example, prediction: {"accuracy": float(prediction == example.reference)},
    split_key=str,
    metric="accuracy",
    split_reasoning=lambda prediction: prediction[: len(prediction) // 2],
)


def encode(loaded: LoadedModel, choices: tuple[str, ...] = ()) -> list[EncodedExample]:
    examples = [
        Example(str(i), "Q: ", "why so " * (3 * i + 1), "?", "A", "A", choices) for i in range(7)
    ]
    rules = EncodingRules("head", 200, 10, context_length=1000)
    return encode_examples(examples, loaded.tokenizer, rules)


def score_base(
    loaded: LoadedModel, items: list[EncodedExample], max_new_tokens: int, **limits: int
) -> list[ScoredExample]:
    (scored,) = score_pack(
        base_of(loaded),
        items,
        SPEC,
        limits=EvaluationConfig(**limits),
        writing=WritingRules.of(loaded.model, loaded.tokenizer, max_new_tokens),
    )
    return scored


def base_of(loaded: LoadedModel) -> Respondents:
    return Respondents(Pack(loaded.model, []), [BASE_ROW], loaded.tokenizer)


def write(
    loaded: LoadedModel,
    items: list[EncodedExample],
    length: int,
    constraint: JsonConstraint | None = None,
) -> list[Answer]:
    rules = WritingRules.of(loaded.model, loaded.tokenizer, length, constraint)
    (answers,) = generate(base_of(loaded), items, rules)
    return answers


@pytest.mark.parametrize(
    "choices", [("A", "B", "C", "D"), ("yes", "no at all", "perhaps so", "never ever in life")]
)
def test_choice_is_that_of_scoring_each_sequence_alone(
    loaded: LoadedModel, choices: tuple[str, ...]
) -> None:
    encoded = encode(loaded, choices)
    expected = []
    for item in encoded:
        totals = []
        for ids in item.choice_ids:
            whole = torch.tensor([item.prompt_ids + ids])
            with torch.no_grad():
                log_probabilities = loaded.model(input_ids=whole).logits.log_softmax(-1)[0]
            start = len(item.prompt_ids) - 1
            totals.append(sum(log_probabilities[start + i, t].item() for i, t in enumerate(ids)))
        expected.append(choices[totals.index(max(totals))])
    (answers,) = choose(base_of(loaded), encoded)
    assert [answer.text for answer in answers] == expected
    for answer in answers:
        by_length = [
            total / len(choice)
            for total, choice in zip(answer.log_likelihoods, choices, strict=True)
        ]
        assert answer.normalised_text == choices[by_length.index(max(by_length))]


def test_batched_decoding_is_that_of_one_row_at_a_time(loaded: LoadedModel) -> None:
    encoded = encode(loaded)
    alone = [write(loaded, [item], 8)[0] for item in encoded]
    assert write(loaded, encoded, 8) == alone


def test_scores_come_in_the_order_of_the_examples(loaded: LoadedModel) -> None:
    encoded = encode(loaded, ("A", "B"))
    scored = score_base(
        loaded,
        encoded,
        batch_size=3,
        max_tokens_per_batch=10_000,
        max_new_tokens=1,
    )
    assert [item.id for item in scored] == [item.example.id for item in encoded]
    assert all(item.scores["accuracy"] == float(item.prediction == "A") for item in scored)
    assert all(set(item.scores) == {"accuracy", "accuracy_norm"} for item in scored)
    assert all(len(item.log_likelihoods) == 2 for item in scored)
    assert all(item.completion_tokens is None for item in scored)


def test_lengths_of_what_was_written_are_counted_to_the_end_token(loaded: LoadedModel) -> None:
    scored = score_base(
        loaded,
        encode(loaded),
        batch_size=4,
        max_tokens_per_batch=10_000,
        max_new_tokens=8,
    )
    whole = write(loaded, encode(loaded), 8)
    assert [item.completion_tokens for item in scored] == [a.completion_tokens for a in whole]
    for item in scored:
        assert item.completion_tokens is not None
        assert item.completion_tokens <= 8
        halves = loaded.tokenizer(item.prediction[: len(item.prediction) // 2]).input_ids
        assert item.reasoning_tokens == len(halves)
        assert item.log_likelihoods == ()


def test_memory_bounds_on_batches_change_no_score(loaded: LoadedModel) -> None:
    def score(max_tokens: int) -> list[str]:
        scored = score_base(
            loaded,
            encode(loaded),
            batch_size=7,
            max_tokens_per_batch=max_tokens,
            max_new_tokens=6,
        )
        return [item.prediction for item in scored]

    assert score(1) == score(150) == score(10**6)


SCHEMA = {
    "type": "object",
    "properties": {
        "total": {"type": "integer", "minimum": 0, "maximum": 9},
        "paid": {"type": "boolean"},
    },
    "required": ["total", "paid"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("lead", ["", " "])
def test_constrained_decoding_writes_nothing_but_the_schema(loaded: LoadedModel, lead: str) -> None:
    pytest.importorskip("llguidance")
    end_tokens = find_end_tokens(loaded.model, loaded.tokenizer)
    constraint = JsonConstraint(loaded.tokenizer, SCHEMA, lead=lead, end_tokens=end_tokens)
    encoded = encode(loaded)
    free = write(loaded, encoded, 30)
    held = write(loaded, encoded, 30, constraint)
    assert not any(answer.text.startswith("{") for answer in free)
    for answer in held:
        jsonschema.validate(json.loads(answer.text), SCHEMA)
        assert answer.text == json.dumps(json.loads(answer.text), separators=(",", ":"))
    alone = [write(loaded, [item], 30, constraint)[0] for item in encoded]
    assert alone == held


def test_a_missing_package_for_constrained_decoding_says_how_to_install_it(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UserError, match=r"pip install 'target-module-harness\[constrained\]'"):
        JsonConstraint(loaded.tokenizer, SCHEMA, lead="", end_tokens=[0])


def test_a_schema_that_cannot_be_compiled_is_one_line(loaded: LoadedModel) -> None:
    pytest.importorskip("llguidance")
    with pytest.raises(UserError, match="cannot be compiled") as caught:
        JsonConstraint(loaded.tokenizer, {"type": "nonsense"}, lead="", end_tokens=[0])
    assert "\n" not in str(caught.value)
