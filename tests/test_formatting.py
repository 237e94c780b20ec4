from harness.formatting import join_words, pad_columns, pluralize, rule_table


def test_words_are_joined_and_those_with_commas_kept_apart() -> None:
    assert join_words([]) == ""
    assert join_words(["qkv"]) == "qkv"
    assert join_words(["qkv", "o_proj", "all"]) == "qkv, o_proj and all"
    assert join_words(["all, dora", "all", "qkv"]) == "all, dora; all and qkv"


def test_a_count_has_its_noun() -> None:
    assert [pluralize(count, "set") for count in (0, 1, 2)] == ["0 sets", "1 set", "2 sets"]
    assert pluralize(2, "process", "processes") == "2 processes"
    assert pluralize(1, "process", "processes") == "1 process"


def test_columns_of_text_have_one_width() -> None:
    rows = [("set", "score", ""), ("qkv+o_proj", "0.5", "long"), ("all", "0.25", "")]
    assert pad_columns(rows) == [
        "set         score",
        "qkv+o_proj  0.5    long",
        "all         0.25",
    ]
    assert pad_columns(rows[1:], is_right=True) == ["qkv+o_proj   0.5  long", "all         0.25"]


def test_the_rule_is_as_long_as_the_longest_line() -> None:
    assert rule_table([("a", "b"), ("{x}", "22")]).splitlines() == ["a    b", "-------", "{x}  22"]
    assert rule_table([("header",)]).splitlines() == ["header", "------"]
