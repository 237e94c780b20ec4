import pytest
from transformers import PreTrainedTokenizerBase

from harness.config.schema import ModelConfig
from harness.data.batching import collate, cut_into_batches, cut_into_passes, plan_steps
from harness.data.encoding import EncodedExample, EncodingRules, encode_examples
from harness.errors import UserError
from harness.models.loading import load_tokenizer
from tasks.base import Example


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(ModelConfig())


def example(body: str = "some words", completion: str = "an answer", number: int = 0) -> Example:
    return Example(
        id=str(number),
        prefix="Summarize.\n",
        body=body,
        suffix="\nSummary:",
        completion=completion,
        reference=completion,
    )


def encode(tokenizer: PreTrainedTokenizerBase, *examples: Example, **limits: object):  # type: ignore[no-untyped-def]
    settings = {
        "truncation": "head",
        "max_prompt_tokens": 500,
        "max_completion_tokens": 50,
        "context_length": 2048,
    } | limits
    return encode_examples(examples, tokenizer, EncodingRules(**settings))  # type: ignore[arg-type]


def test_prompt_is_the_chat_template_and_completion_ends_in_end_of_text(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    encoded = encode(tokenizer, example())[0]
    text = tokenizer.decode(encoded.prompt_ids)
    assert "<|im_start|>user\nSummarize.\nsome words\nSummary:<|im_end|>" in text
    assert text.endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(encoded.completion_ids) == "an answer<|im_end|>"
    assert not encoded.is_cut


def test_without_a_chat_template_the_prompt_is_plain(tokenizer: PreTrainedTokenizerBase) -> None:
    import copy

    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    encoded = encode(plain, example())[0]
    assert tokenizer.decode(encoded.prompt_ids) == "Summarize.\nsome words\nSummary:"
    assert tokenizer.decode(encoded.completion_ids) == " an answer<|im_end|>"


@pytest.mark.parametrize("truncation", ["head", "head_tail"])
@pytest.mark.parametrize("limit", [70, 71, 99, 150])
def test_long_prompt_loses_body_by_the_rule_and_nothing_else(
    tokenizer: PreTrainedTokenizerBase, truncation: str, limit: int
) -> None:
    words = [f"word{number}é" for number in range(400)]
    long = example(" ".join(words))
    encoded = encode(tokenizer, long, truncation=truncation, max_prompt_tokens=limit)[0]
    text = tokenizer.decode(encoded.prompt_ids)
    assert limit - 3 <= len(encoded.prompt_ids) <= limit
    assert "Summarize.\nword0é" in text
    assert "\nSummary:<|im_end|>" in text
    assert ("word399é" in text) == (truncation == "head_tail")
    full = len(
        encode(tokenizer, long, max_prompt_tokens=10_000, context_length=20_000)[0].prompt_ids
    )
    assert encoded.cut_tokens == full - len(encoded.prompt_ids) > 0


def test_a_cut_prompt_takes_all_the_room_that_there_is(tokenizer: PreTrainedTokenizerBase) -> None:
    """Seams may cost a token at some limits; where they cost none, no token is lost."""
    long = example("word " * 400)
    lengths = [
        len(encode(tokenizer, long, max_prompt_tokens=limit)[0].prompt_ids) - limit
        for limit in range(70, 90)
    ]
    assert max(lengths) == 0
    assert min(lengths) >= -1


def test_context_counts_as_well_as_the_limit(tokenizer: PreTrainedTokenizerBase) -> None:
    long = example("word " * 1000)
    encoded = encode(tokenizer, long, max_prompt_tokens=5000, context_length=300)[0]
    assert len(encoded.prompt_ids) <= 300 - 50


def test_instruction_that_does_not_fit_is_an_error(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UserError, match=r"example 0: 20 tokens are too few"):
        encode(tokenizer, example("word " * 100), max_prompt_tokens=20)
    with pytest.raises(UserError, match=r"max_completion_tokens is 50"):
        encode(tokenizer, example(), context_length=40)


def test_long_completion_is_cut_and_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    encoded = encode(tokenizer, example(completion="word " * 100), max_completion_tokens=10)[0]
    assert len(encoded.completion_ids) == 10
    assert encoded.is_completion_cut
    assert encoded.completion_ids[-1] != tokenizer.eos_token_id


def test_labels_are_the_completions_and_positions_the_tokens_before(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    encoded = encode(tokenizer, example("a"), example("b c d e f", "longer answer here", 1))
    batch = collate(encoded, pad_token_id=0)
    following = batch.input_ids.flatten()[batch.picked + 1]
    assert following.tolist() == batch.labels.tolist()
    assert batch.labels.tolist() == [t for item in encoded for t in item.completion_ids]
    for ids, item in zip(batch.input_ids.tolist(), encoded, strict=True):
        own = [*item.prompt_ids, *item.completion_ids]
        assert ids == own + [0] * (len(ids) - len(own))


def test_steps_cover_each_epoch_once_and_depend_on_the_seed_alone() -> None:
    lengths = [(7 * i) % 31 for i in range(50)]
    settings = {"batch_size": 4, "epochs": 2.0, "max_steps": None}
    steps = plan_steps(lengths, seed=3, **settings)  # type: ignore[arg-type]
    seen = [i for step in steps for i in step]
    assert sorted(seen) == sorted([*range(50), *range(50)])
    assert sorted(seen[:50]) == list(range(50))
    assert steps == plan_steps(lengths, seed=3, **settings)  # type: ignore[arg-type]
    assert steps != plan_steps(lengths, seed=4, **settings)  # type: ignore[arg-type]


def test_part_of_an_epoch_and_a_limit_of_steps() -> None:
    lengths = [1] * 10
    half = plan_steps(lengths, batch_size=2, epochs=0.5, max_steps=None, seed=0)
    assert sum(map(len, half)) == 5
    assert len(plan_steps(lengths, batch_size=2, epochs=9, max_steps=3, seed=0)) == 3


def test_scoring_batches_hold_every_example_once(tokenizer: PreTrainedTokenizerBase) -> None:
    encoded = encode(tokenizer, *[example("w " * (i % 5), number=i) for i in range(11)])
    batches = cut_into_batches(encoded, max_rows=4, max_tokens=10_000, new_tokens=3)
    assert sorted(item.example.id for batch in batches for item in batch) == sorted(
        str(i) for i in range(11)
    )
    assert [len(batch) for batch in batches] == [4, 4, 3]


def make_encoded(number: int, prompt: int, completion: int = 1) -> EncodedExample:
    owner = example("", number=number)
    return EncodedExample(owner, (1,) * prompt, (2,) * completion, (), 0, False)


def test_scoring_batches_keep_within_their_tokens_and_let_a_long_one_through() -> None:
    items = [make_encoded(i, n) for i, n in enumerate((500, 40, 40, 30, 20, 20, 10))]
    batches = cut_into_batches(items, max_rows=3, max_tokens=100, new_tokens=10)
    assert [[len(item.prompt_ids) for item in batch] for batch in batches] == [
        [500], [40, 40], [30, 20], [20, 10],
    ]  # fmt: skip


def test_training_passes_keep_within_their_tokens_and_lose_nothing() -> None:
    lengths = (6, 10, 201, 4, 5, 5)
    passes = cut_into_passes(lengths, parts=1, max_tokens=20)
    assert [index for part in passes for index in part] == list(range(6))
    assert [len(part) for part in passes] == [2, 1, 3]
    assert all(
        len(part) == 1 or len(part) * max(lengths[index] for index in part) <= 20 for part in passes
    )
    assert cut_into_passes(lengths, parts=1, max_tokens=10**6) == [range(6)]
    assert [len(part) for part in cut_into_passes(lengths, parts=3, max_tokens=10**6)] == [2, 2, 2]


def test_plain_prompts_are_encoded_together_with_their_answer(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    item = Example("1", "Question: ", "why?", "\nAnswer:", "B and so on", "B", ("A", "B"))
    rules = EncodingRules("head", 100, 20, context_length=500, use_chat_template=False)
    (plain,) = encode_examples([item], tokenizer, rules)
    together = tokenizer("Question: why?\nAnswer: B and so on").input_ids
    assert [*plain.prompt_ids, *plain.completion_ids] == [*together, tokenizer.eos_token_id]
    assert tokenizer.decode(plain.choice_ids[1]) == " B"


def test_where_the_answer_is_written_there_are_no_choices(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    item = Example("1", "", "why?", "", "a long answer of words", "B", ("A", "B"))
    rules = EncodingRules("head", 100, 2, context_length=500, choose_by_likelihood=False)
    (written,) = encode_examples([item], tokenizer, rules)
    assert written.choice_ids == ()
    assert len(written.completion_ids) == 2
    assert written.is_completion_cut


def test_options_are_compared_after_their_lead(tokenizer: PreTrainedTokenizerBase) -> None:
    ending = "\n\n## Final Answer\n\nB. two"
    item = Example(
        "1", "", "why?", "", "step by step " * 50 + ending, "B", ("A", "B"),
        choice_lead="## Final Answer\n\n", ending=ending,
    )  # fmt: skip
    rules = EncodingRules("head", 100, 30, context_length=500)
    (encoded,) = encode_examples([item], tokenizer, rules)
    lead = " " if tokenizer.chat_template is None else ""
    texts = [tokenizer.decode(ids) for ids in encoded.choice_ids]
    assert texts == [f"{lead}## Final Answer\n\n{letter}" for letter in "AB"]
    first, second = encoded.choice_ids
    assert first[:-1] == second[:-1]
    # What is trained on is cut as where the answer is written, for the option is in its ending.
    assert len(encoded.completion_ids) == 30
    assert tokenizer.decode(encoded.completion_ids, skip_special_tokens=True).endswith(ending)


def test_a_long_reasoning_keeps_its_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    ending = "\nAnswer: 42"
    item = Example("1", "Q", "", "", "step by step " * 50 + ending, "42", ending=ending)

    def encode_to(limit: int) -> EncodedExample:
        rules = EncodingRules("head", 100, limit, context_length=500)
        (encoded,) = encode_examples([item], tokenizer, rules)
        return encoded

    cut = encode_to(30)
    text = tokenizer.decode(cut.completion_ids, skip_special_tokens=True)
    assert len(cut.completion_ids) == 30
    assert text.startswith("step by step")
    assert text.endswith(ending)
    assert cut.completion_ids[-1] == tokenizer.eos_token_id
    assert cut.is_completion_cut
    assert not encode_to(400).is_completion_cut
    # Where not even the answer fits there is nothing better than the head.
    assert len(encode_to(3).completion_ids) == 3
