"""What a checkpoint's generation_config.json says of decoding, and how much of it takes part."""

from typing import Any

from transformers import GenerationConfig

from harness.errors import UserError

OF_TOKENS = ("eos_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id")
"""Read in any case: what begins, ends and fills a text."""

OF_SCORES = (
    *("repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size"),
    *("min_length", "min_new_tokens", "bad_words_ids", "suppress_tokens", "begin_suppress_tokens"),
    *("sequence_bias", "exponential_decay_length_penalty"),
    *("forced_bos_token_id", "forced_eos_token_id"),
)
"""What changes the next token's scores: under `model.generation=checkpoint` it takes part. Beams,
sampling and stop strings never do, for answers are greedy."""


def make_generation_config(written: GenerationConfig, mode: str) -> GenerationConfig:
    """Greedy decoding up to a checkpoint's own end tokens.

    `mode` is `greedy`, with none of its other settings, or `checkpoint`, with those of the scores.
    `generate` fills what a caller leaves open from the model's own configuration, which is this.
    """
    return GenerationConfig(
        do_sample=False,
        eos_token_id=written.eos_token_id,
        pad_token_id=written.pad_token_id,
        **(_list_of_scores(written) if mode == "checkpoint" else {}),
    )


def changes_scores(config: GenerationConfig) -> bool:
    """Whether decoding by a configuration looks at what was written before."""
    return bool(_list_of_scores(config))


POSITIVE = ("repetition_penalty", "encoder_repetition_penalty")
COUNTS = ("no_repeat_ngram_size", "min_length", "min_new_tokens")


def check_settings(written: GenerationConfig, mode: str, place: str) -> None:
    """Raise UserError for a setting that is read and makes no sense, before anything runs."""
    ends = (
        written.eos_token_id if isinstance(written.eos_token_id, list) else [written.eos_token_id]
    )
    wrong: list[tuple[str, Any, str]] = [
        ("eos_token_id", written.eos_token_id, "a token's number, or a list of them")
        for end in ends
        if end is not None and type(end) is not int
    ]
    for name, value in _list_of_scores(written).items() if mode == "checkpoint" else ():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name in POSITIVE and not (is_number and value > 0):
            wrong.append((name, value, "a number greater than 0"))
        if name in COUNTS and not (type(value) is int and value >= 0):
            wrong.append((name, value, "a whole number, 0 or more"))
    if wrong:
        name, value, expected = wrong[0]
        raise UserError(
            f"model: {name} in generation_config.json of {place} is {value!r}; expected "
            f"{expected}: correct the file"
        )


def describe_set_aside(written: GenerationConfig, mode: str) -> str | None:
    """A sentence on the settings of a checkpoint that take no part; None where there are none."""
    kept = _list_of_scores(written) if mode == "checkpoint" else {}
    ignored = (*OF_TOKENS, *kept, "transformers_version", "_from_model_config", "use_cache")
    aside = {k: v for k, v in written.to_diff_dict().items() if k not in ignored and v}
    sentences = []
    if kept:
        listed = ", ".join(f"{name} {value}" for name, value in sorted(kept.items()))
        sentences.append(f"Answers are written under the checkpoint's own {listed}.")
    if aside:
        listed = ", ".join(f"{name} {value}" for name, value in sorted(aside.items()))
        sentences.append(
            "Answers are greedy: of the checkpoint's generation settings these take no part: "
            f"{listed}."
        )
    return " ".join(sentences) or None


def _list_of_scores(config: GenerationConfig) -> dict[str, Any]:
    differing = config.to_diff_dict()
    return {name: differing[name] for name in OF_SCORES if differing.get(name) is not None}
