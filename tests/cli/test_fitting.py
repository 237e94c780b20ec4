"""What a sweep that fits itself is taken to run."""

from omegaconf import OmegaConf

from harness.analysis.size_choice import describe_larger_size
from harness.cli.fitting import _list_swept, fix_counts
from harness.config.composing import compose
from harness.records.study_size import SizeChoice


def test_what_the_user_sweeps_replaces_what_the_experiment_does() -> None:
    swept = {
        "sweeper": {"params": {"task": "medmcqa,fincot", "target_modules": "qkv,o_proj,all"}},
        "overrides": {"task": ["target_modules=q", "+seed=0,1"]},
    }
    config = OmegaConf.create({"hydra": swept})
    assert sorted(_list_swept(config)) == ["+seed=0,1", "target_modules=q", "task=medmcqa,fincot"]


SIZES = {
    "s": {
        "train_examples": {"medmcqa": 20, "fincot": 14, "govreport": 6},
        "test_examples": {"medmcqa": 60, "fincot": 16, "govreport": 8},
    },
    # As conf/experiment/quickstart.yaml has it.
    "xl": {
        "train_examples": {"medmcqa": 96, "fincot": 64, "govreport": 24},
        "test_examples": {"medmcqa": 200, "fincot": 64, "govreport": 24},
    },
}


def describe_larger(*overrides: str) -> str:
    configs = [
        compose(["experiment=quickstart", "variables.size=xl", f"task={task}", *overrides])
        for task in ("medmcqa", "fincot")
    ]
    seconds = dict.fromkeys(SIZES, 60.0)
    return describe_larger_size(
        SizeChoice("s", fix_counts(SIZES, configs), seconds, 600.0, "float32")
    )


def test_a_larger_size_is_told_with_the_numbers_that_the_user_gives() -> None:
    plain = describe_larger()
    assert "trains on 96 medmcqa examples instead of 20 and 64 fincot examples" in plain
    assert "scores 200 medmcqa examples instead of 60" in plain
    assert "govreport" not in plain
    given = describe_larger("task.test_examples=100")
    assert "trains on 96 medmcqa examples instead of 20" in given
    assert "scores" not in given
    assert "intervals narrower" not in given
    assert describe_larger("task.test_examples=100", "task.train_examples=50") == (
        "A larger size changes nothing here, because all numbers of examples are given."
    )


def test_the_estimate_of_each_size_is_of_the_numbers_that_it_runs() -> None:
    overrides = ["experiment=quickstart", "variables.size=xl", "task=medmcqa"]
    fixed = fix_counts(SIZES, [compose([*overrides, "task.test_examples=100"])])
    assert fixed == {
        "s": {"train_examples": {"medmcqa": 20}, "test_examples": {"medmcqa": 100}},
        "xl": {"train_examples": {"medmcqa": 96}, "test_examples": {"medmcqa": 100}},
    }
