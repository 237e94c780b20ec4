from harness.formatting import join_words


def test_words_are_joined_and_those_with_commas_kept_apart() -> None:
    assert join_words([]) == ""
    assert join_words(["qkv"]) == "qkv"
    assert join_words(["qkv", "o_proj", "all"]) == "qkv, o_proj and all"
    assert join_words(["all, dora", "all", "qkv"]) == "all, dora; all and qkv"
