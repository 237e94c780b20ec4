import pytest
import torch

from harness.config import ModelConfig
from harness.data import EncodedExample, encode_examples
from harness.evaluation import choose, generate, score_examples
from harness.models import LoadedModel, load_model
from tasks.base import Example


@pytest.fixture(scope="module", params=["tiny-llama", "tiny-gpt2"])
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return load_model(
        ModelConfig(source="random", shape=request.param, dtype="float32", device="cpu")
    )


def encode(loaded: LoadedModel, choices: tuple[str, ...] = ()) -> list[EncodedExample]:
    examples = [
        Example(str(i), "Q: ", "why so " * (3 * i + 1), "?", "A", "A", choices) for i in range(7)
    ]
    return encode_examples(
        examples,
        loaded.tokenizer,
        truncation="head",
        max_prompt_tokens=200,
        max_completion_tokens=10,
        context_length=1000,
    )


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
    assert choose(loaded.model, loaded.tokenizer, encoded) == expected


def test_batched_decoding_is_that_of_one_row_at_a_time(loaded: LoadedModel) -> None:
    encoded = encode(loaded)
    alone = [generate(loaded.model, loaded.tokenizer, [item], 8)[0] for item in encoded]
    assert generate(loaded.model, loaded.tokenizer, encoded, 8) == alone


def test_scores_come_in_the_order_of_the_examples(loaded: LoadedModel) -> None:
    encoded = encode(loaded, ("A", "B"))
    scored = score_examples(
        loaded.model,
        loaded.tokenizer,
        encoded,
        lambda example, prediction: {"accuracy": float(prediction == example.reference)},
        batch_size=3,
        max_new_tokens=1,
    )
    assert [item.id for item in scored] == [item.example.id for item in encoded]
    assert all(item.scores["accuracy"] == float(item.prediction == "A") for item in scored)
