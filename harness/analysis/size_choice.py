"""The size that a sweep was given to fit the machine, in words."""

from harness.formatting import format_duration, join_words
from harness.records.study_size import SizeChoice


def describe_size(choice: SizeChoice) -> str:
    """Say which size a study has, and why."""
    limit = format_duration(choice.limit_seconds)
    names = join_words(list(choice.sizes))
    fits = choice.seconds[choice.size] <= choice.limit_seconds
    why = (
        f"the largest of {names} that ends within {limit}"
        if fits
        else f"the smallest of {names}; none ends within {limit}"
    )
    return (
        f"Size {choice.size}: {why} on this machine ({choice.speed}). "
        f"Estimated time: {format_duration(choice.seconds[choice.size])}."
    )


def describe_larger_size(choice: SizeChoice) -> str:
    """Say what the next larger size would add, and cost."""
    larger = choice.next_size
    if larger is None:
        return "This is the largest size."
    own = choice.sizes[choice.size]
    parts = []
    for part, verb in (("train_examples", "trains on"), ("test_examples", "scores")):
        counts = [
            f"{count} {task} examples instead of {own[part][task]}"
            for task, count in choice.sizes[larger][part].items()
            if count != own[part][task]
        ]
        parts += [f"{verb} {join_words(counts)}"] if counts else []
    if not parts:
        return "A larger size changes nothing here, because all numbers of examples are given."
    is_narrower = choice.sizes[larger]["test_examples"] != own["test_examples"]
    return (
        f"Size {larger} (variables.size={larger}, about {format_duration(choice.seconds[larger])}) "
        f"{' and '.join(parts)}."
        f"{' More test examples make the intervals narrower.' if is_narrower else ''}"
    )
