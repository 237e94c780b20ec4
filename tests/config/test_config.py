import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from harness.config.composing import compose, conf_folder
from harness.config.validation import CHOICES, READ_BY_SOURCE
from harness.errors import UserError

YAML_FILES = sorted(conf_folder().rglob("*.yaml"))


def test_every_yaml_is_seen() -> None:
    groups = {path.parent.name for path in YAML_FILES}
    wanted = {"model", "target_modules", "task", "adapter", "train", "latency", "experiment"}
    assert wanted <= groups
    assert len(list((conf_folder() / "target_modules").glob("*.yaml"))) >= 11
    assert len(YAML_FILES) >= 26


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda p: str(p.relative_to(conf_folder())))
def test_every_yaml_composes_into_a_valid_config(path: Path) -> None:
    if path.parent == conf_folder():
        compose([])
        return
    group = path.parent.name
    extra = {
        "hub": ["model.path=a/b"],
        "random": ["model.shape=tiny-llama"],
        "prefix": ["target_modules=model"],
        "prompt": ["target_modules=model"],
        "model": ["adapter=full"],
    }.get(path.stem, [])
    if path.stem == "local":
        with pytest.raises(UserError, match=r"model\.path"):
            compose(["model=local"])
        return
    config = compose([f"{group}={path.stem}", *extra])
    if group == "target_modules":
        assert config.target_set == path.stem
    if group == "task":
        assert config.task.name == path.stem


def test_an_unknown_size_is_named_with_the_choices() -> None:
    with pytest.raises(
        UserError, match=r"size is 'huge'; expected one of xxs, xs, s, m, l, xl, auto$"
    ):
        compose(["experiment=quickstart", "variables.size=huge"])
    assert compose(["experiment=quickstart", "variables.size=l"]).task.test_examples == 100


def test_list_of_target_sets_is_their_union() -> None:
    config = compose(["target_modules=[qkv,o_proj]"])
    assert config.target_set == "qkv+o_proj"
    assert config.run_id == compose(["target_modules=qkv+o_proj"]).run_id


@pytest.mark.parametrize("spelling", ["fc2+q", "q+fc2", "fc2+q_proj", "[q,fc2]", "[fc2,q]"])
def test_any_set_without_a_file_and_in_any_spelling(spelling: str) -> None:
    config = compose([f"target_modules={spelling}"])
    assert config.roles == ("q", "fc2")
    assert config.run_id == compose(["target_modules=q+fc2"]).run_id


def test_unknown_target_set_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="'banana' is not a role"):
        compose(["target_modules=banana"])


def test_switching_every_role_off_is_an_empty_set() -> None:
    with pytest.raises(UserError, match="empty"):
        compose(["target_modules=o_proj", "target_modules.roles.o=false"])


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("adapter.rank=0", r"adapter\.rank is 0.*at least 1"),
        ("adapter.rank=-4", r"adapter\.rank is -4"),
        ("adapter.rank=2.5", r"adapter\.rank"),
        ("adapter.rank=many", r"adapter\.rank"),
        ("adapter.alpha=0", r"adapter\.alpha is 0"),
        ("adapter.dropout=1.5", r"adapter\.dropout is 1\.5.*at most 1"),
        ("adapter.method=dora2", r"adapter\.method is 'dora2'.*lora"),
        ("train.learning_rate=-1e-3", r"train\.learning_rate is -0\.001.*greater than 0"),
        ("train.learning_rate=nan", r"train\.learning_rate is nan"),
        ("train.schedule=warp", r"train\.schedule is 'warp'.*cosine"),
        ("train.gradient_accumulation=99", r"gradient_accumulation is 99"),
        ("task.source=cloud", r"task\.source is 'cloud'.*embedded"),
        ("task.source=local", r"task\.path is not set"),
        ("task.max_prompt_tokens=1", r"task\.max_prompt_tokens is 1"),
        ("model=hub", r"model\.path is not set"),
        ("model=random", r"model\.shape is not set"),
        ("model.dtype=int4", r"model\.dtype is 'int4'.*bfloat16"),
        ("latency.min_rounds=0", r"latency\.min_rounds is 0"),
        ("latency.output_tokens=0", r"latency\.output_tokens is 0; expected a number at least 1"),
        ("latency.compile=default", r"latency\.compile is 'default' .* set latency\.cache=static"),
        ("latency.cache=paged", r"latency\.cache is 'paged'; expected one of dynamic, static"),
        ("latency.half_width=0", r"latency\.half_width is 0"),
        ("seed=-1", r"seed is -1"),
        ("study=../elsewhere", r"study is '\.\./elsewhere'"),
        ("study=''", r"study is ''"),
        ("model.roles={banana:x}", "banana"),
    ],
)
def test_bad_value_gives_one_line_that_names_it(override: str, named: str) -> None:
    with pytest.raises(Exception, match=named) as caught:
        compose([override])
    if isinstance(caught.value, UserError):
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ("adapter=prefix target_modules=o_proj", r"prefix does not support .*=o_proj; .*=model"),
        ("adapter=lora target_modules=model", r"lora does not support target_modules=model; .*fc2"),
        ("adapter=bottleneck target_modules=all", r"it supports o_proj or mix_out or fc2"),
        ("adapter.method=prefix target_modules=model", r"rank is 8, but .* choose adapter=prefix"),
        (
            "adapter=vera adapter.alpha=3",
            r"adapter\.alpha is 3\.0, but adapter\.method vera has no",
        ),
        ("adapter=dora adapter.rank=null", r"adapter\.rank is None, but .* dora needs it"),
        ("adapter=lora_plus adapter.learning_rate_ratio=0.5", r"learning_rate_ratio is 0\.5"),
        ("adapter=eva adapter.rho=0.5", r"adapter\.rho is 0\.5; expected a number at least 1"),
        (
            "adapter=adalora adapter.rank=32",
            r"initial_rank is 12 and adapter\.rank is 32.*removes ranks",
        ),
        (
            "adapter=increlora adapter.rank=2",
            r"initial_rank is 4 and adapter\.rank is 2.*adds ranks",
        ),
        ("adapter=adalora adapter.allocate_from=0.9", r"allocate_from is 0\.9 .* smaller"),
        ("adapter=bottleneck adapter.activation=sine", r"adapter\.activation is 'sine'; .*gelu"),
        (
            "adapter=prompt target_modules=model train.gradient_checkpointing=true",
            r"gradient_checkpointing is on, but adapter\.method prompt",
        ),
        ("adapter.budget=equal_time", r"adapter\.budget is 'equal_time'; .*equal_params"),
        ("adapter=ia3 adapter.budget=equal_params", r"method ia3 has no rank to adjust"),
        ("adapter.budget=equal_params adapter.budget_set=banana", r"'banana' in 'banana'"),
        ("adapter.budget=equal_latency", r"budget_study is not set; .*harness\.latency"),
        (
            "adapter=dora adapter.budget=equal_latency adapter.budget_study=x",
            r"adapter\.method is dora; latency studies measure LoRA only",
        ),
    ],
)
def test_methods_and_budgets_are_checked_in_one_line(overrides: str, named: str) -> None:
    with pytest.raises(UserError, match=named) as caught:
        compose(overrides.split(" "))
    assert "\n" not in str(caught.value)


def test_settings_that_a_method_has_not_do_not_change_its_run() -> None:
    """Run ids of LoRA stay what they were before there were other methods."""
    assert compose([]).identity["adapter"] == {
        "method": "lora",
        "rank": 8,
        "alpha": 16.0,
        "dropout": 0.0,
    }
    rates = [compose([f"adapter.learning_rate={rate}"]).run_id for rate in (1e-3, 1e-4)]
    assert rates[0] != rates[1], "the method's rate is the one that is trained with"
    fixed = [f"adapter.learning_rate={rate}" for rate in (1e-3, 1e-4)]
    assert len({compose([each, "train.learning_rate=1e-2"]).run_id for each in fixed}) == 1


def test_local_folders_are_checked_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json found"):
        compose(["model=local", f"model.path={tmp_path}"])
    with pytest.raises(UserError, match="no such file or folder"):
        compose(["task.source=local", f"task.path={tmp_path / 'nowhere'}"])


def test_run_id_does_not_depend_on_output_paths() -> None:
    here, there = compose(["study=a"]), compose(["study=b", "results_dir=/elsewhere"])
    assert here.run_id == there.run_id
    assert here.base_run_id == there.base_run_id


@pytest.mark.parametrize("override", ["seed=1", "adapter.rank=4", "train.epochs=2"])
def test_run_id_changes_with_what_matters_but_the_base_does_not(override: str) -> None:
    plain, changed = compose([]), compose([override])
    assert plain.run_id != changed.run_id
    assert plain.base_run_id == changed.base_run_id


def test_group_joins_what_can_share_a_pass() -> None:
    group = compose([]).group
    assert compose(["target_modules=all", "adapter.rank=32"]).group == group
    assert compose(["train.learning_rate=1e-3", "train.epochs=3", "seed=4"]).group == group
    assert compose(["train.batch_size=2"]).group != group
    assert compose(["task=govreport"]).group != group


def test_run_id_is_the_same_in_every_process() -> None:
    code = "from harness.config.composing import compose; print(compose([]).run_id)"
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "1", "PATH": "", "HOME": "/nonexistent"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout == compose([]).run_id + "\n"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            "model.path=/models/mine",
            "model.path is /models/mine, but model.source is embedded, which does not read it; "
            "add model=local or model=hub, or leave model.path out",
        ),
        ("model.shape=llama-3-8b", "model.source is embedded, .*add model=random"),
        ("model.revision=abc", "model.source is embedded, .*add model=hub"),
        ("model=random model.shape=tiny-llama model.path=x", "model.source is random"),
        ("model=hub model.path=a/b model.shape=tiny-llama", "model.source is hub"),
        ("model=local model.path=x model.revision=abc", "model.revision is abc, .* is local"),
        ("task=medmcqa task.path=mine.jsonl", "task.path is mine.jsonl: no such file or folder"),
        (
            "task=medmcqa task.source=embedded task.path=mine.jsonl",
            "task.path is mine.jsonl, but task.source is embedded, which does not read it; add "
            "task.source=local or task.source=auto, or leave task.path out",
        ),
        (
            "task.source=embedded task.dataset=a/b",
            "task.dataset is a/b, .*embedded, .*add task.source=hub or",
        ),
        ("task.subset=en", "task.subset is en, .*embedded"),
        ("task.encoding=cp1252", "task.encoding is cp1252, .*embedded, .*add task.source=local or"),
        ("task.id_column=key", "task.id_column is key, .*embedded"),
        ("task.source=hub task.encoding=cp1252", "task.encoding is cp1252, .*source is hub"),
        ("task.source=local task.path=conf task.subset=a", "conf, which has no named data sets"),
        ("task.revision=abc", "task.revision is abc, .*embedded"),
        ("task.source=hub task.path=mine.jsonl", "task.path is mine.jsonl, but task.source is hub"),
        ("task.source=local task.path=conf task.dataset=a/b", "task.dataset .*source is local"),
        ("task=custom task.path=a/b task.dataset=c/d", "expected one of them"),
        ("task=custom task.choices=[a,b]", "task.choices .* task.metric is not set, .*set task.me"),
        ("task=custom task.cut_column=text", "task.cut_column is text, but task.metric"),
        ("task=custom task.split_columns=[customer]", "task.split_columns .*task.metric"),
        ("adapter.budget_set=qkv", "budget_set is qkv, but adapter.budget is not set"),
        ("adapter.budget_study=results/x", "budget_study is results/x, but adapter.budget"),
        ("adapter.alpha_policy=root", "alpha_policy is root, but adapter.budget is not set"),
        (
            "train.tuning_rates=7",
            "tuning_rates is 7, but train.learning_rate is 0.0002, .*set train.learning_rate=tuned",
        ),
        ("train.tuning=halving train.learning_rate=1e-3", "tuning is halving, .* is 0.001"),
    ],
)
def test_a_setting_that_nothing_reads_is_refused(overrides: str, line: str) -> None:
    with pytest.raises(UserError, match=line) as caught:
        compose(overrides.split(" "))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        "model=hub model.path=a/b model.revision=abc",
        "model=random model.shape=tiny-llama",
        "task.source=hub task.dataset=a/b task.subset=en task.revision=abc",
        "task.source=local task.path=conf",
        "task.source=auto task.path=conf",
        "task.source=auto task.path=a/b task.subset=en task.revision=abc",
        "task=custom task.source=hub task.dataset=a/b",
        "adapter.budget=equal_rank adapter.budget_set=qkv adapter.alpha_policy=root",
        "train.learning_rate=tuned train.tuning_rates=7 train.tuning=halving",
        "train.tuning_rates=5 adapter.budget_set=all",
    ],
)
def test_a_setting_that_something_reads_is_taken(overrides: str) -> None:
    compose(overrides.split(" "))


def test_every_way_to_say_where_to_read_from_is_in_the_table() -> None:
    for section, names in {
        "model": {"path", "revision", "shape"},
        "task": {"path", "encoding", "id_column", "dataset", "subset", "revision"},
    }.items():
        by_source = READ_BY_SOURCE[section]
        assert set(by_source) == set(CHOICES[f"{section}.source"])
        assert {name for read in by_source.values() for name in read} == names


def test_run_ids_of_models_that_are_no_folder_stay_what_they_were() -> None:
    """Committed studies are known by such ids, and a finished run is skipped by its id."""
    assert compose([]).run_id == "smollm2-135m-instruct--medmcqa--o_proj--lora--s0--54f7040f"
    assert compose([]).base_run_id.endswith("--medmcqa--base--none--s0--42da5145")
    hub = compose(["model=hub", "model.path=a/b", "task=govreport"])
    assert hub.run_id == "b--govreport--o_proj--lora--s0--5d380b81"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=x", "seed is 'x'; expected a whole number"),
        (
            "train.epoch=2",
            "Could not override 'train.epoch'. Nothing reads train.epoch=2; docs/options.md lists "
            "all options.",
        ),
        (
            "task=nosuch",
            "In 'config': Could not find 'task/nosuch' Available options in 'task': cocohd, "
            "custom, fincot, govreport, invoice_ocr, medmcqa, medreason",
        ),
    ],
)
def test_what_hydra_refuses_is_said_without_its_own_advice(override: str, expected: str) -> None:
    with pytest.raises(UserError) as raised:
        compose([override])
    assert str(raised.value) == expected
