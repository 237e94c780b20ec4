"""Tuned learning rates: the search on planted losses, and the real thing on a tiny model."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import load_results
from harness.config.composing import compose
from harness.config.schema import Config, EvaluationConfig
from harness.data.preparation import prepare_task
from harness.errors import UserError
from harness.evaluation.respondents import Respondents
from harness.evaluation.scoring import VALIDATION_METRIC, measure_losses
from harness.models.loading import load_model
from harness.records.record import EvalRecord, Record, read_record, write_record
from harness.sweep import run
from harness.sweep.learning_rates import STEP, tune_rates
from harness.sweep.plan import VariantPlan, plan_sweep
from harness.training.packed_model import BASE_ROW, Pack
from tasks import Source, load_examples

ConfigMaker = Callable[..., Config]
TUNED = ("train.learning_rate=tuned", "train.validation_examples=3")


class PlantedSweep:
    """Stands in for a sweep: a trial's loss is how far its rate is from the best, in decades."""

    def __init__(self, best: float = 1e-3, loss: Callable[[Config], float] | None = None) -> None:
        self.trials: list[Config] = []
        self.rounds = 0
        self._loss = loss or (lambda trial: abs(math.log10(trial.train.learning_rate / best)))

    def __call__(self, trials: Sequence[Config]) -> None:
        self.rounds += 1
        for trial in trials:
            self.trials.append(trial)
            loss = self._loss(trial)
            folder = trial.study_folder / "runs" / trial.run_id
            scores = {VALIDATION_METRIC: 0.5, "loss": loss}
            scored = EvalRecord(
                *("embedded", "d", None, "validation", 3, VALIDATION_METRIC, scores, 1.0, 0, 0.0, 0)
            )
            status: Any = "ok" if math.isfinite(loss) else "failed"
            (folder / "adapter").mkdir(parents=True, exist_ok=True)
            write_record(folder, Record(trial.run_id, status, {}, eval=scored))

    @property
    def rates(self) -> list[float]:
        return [trial.train.learning_rate for trial in self.trials]


def plan(untimed_config: ConfigMaker, *overrides: str) -> VariantPlan:
    return plan_sweep([untimed_config(*TUNED, *overrides)]).variants[0]


def test_grid_is_half_decades_around_the_methods_own_rate(untimed_config: ConfigMaker) -> None:
    sweep, asked = PlantedSweep(best=2e-4), plan(untimed_config)
    assert tune_rates([asked], sweep) == {asked.config.run_id: 2e-4}
    assert sorted(sweep.rates) == [2e-5, 6.32e-5, 2e-4, 6.32e-4, 2e-3]
    assert sweep.rounds == 1
    (row,) = json.loads((asked.config.study_folder / "tuning.json").read_text())
    assert row["chosen"] == 2e-4
    assert not row["at_an_end"]
    assert not list(asked.config.study_folder.glob("tuning/runs/*/adapter"))


@pytest.mark.parametrize(("best", "added"), [(2e-2, 3), (2e-6, 3)])
def test_grid_grows_while_the_best_rate_lies_at_an_end(
    best: float, added: int, untimed_config: ConfigMaker
) -> None:
    sweep, asked = PlantedSweep(best), plan(untimed_config)
    (rate,) = tune_rates([asked], sweep).values()
    assert rate == pytest.approx(best)
    assert len(sweep.rates) == 5 + added
    assert min(sweep.rates) < best < max(sweep.rates)


def test_grid_stops_growing_at_its_most_and_says_where_it_ended(
    untimed_config: ConfigMaker,
) -> None:
    sweep, asked = PlantedSweep(best=1e6), plan(untimed_config, "train.tuning_most=7")
    (rate,) = tune_rates([asked], sweep).values()
    assert rate == pytest.approx(2e-3 * STEP**2, rel=1e-2)
    assert len(sweep.rates) == 7
    (row,) = json.loads((asked.config.study_folder / "tuning.json").read_text())
    assert row["at_an_end"]


def test_rates_that_diverge_are_not_chosen(untimed_config: ConfigMaker) -> None:
    sweep = PlantedSweep(loss=lambda t: math.inf if t.train.learning_rate > 1e-4 else 1.0)
    (rate,) = tune_rates([plan(untimed_config)], sweep).values()
    assert isinstance(rate, float)
    assert rate <= 6.32e-5


def test_a_grid_without_a_finite_loss_is_one_clear_line(untimed_config: ConfigMaker) -> None:
    sweep = PlantedSweep(loss=lambda trial: math.inf)
    (error,) = tune_rates([plan(untimed_config, "train.tuning_most=6")], sweep).values()
    assert isinstance(error, UserError)
    assert "none of the 6 rates from 6.32e-06 to 0.002 gave" in str(error)
    assert "\n" not in str(error)


def test_seeds_share_a_rate_that_was_chosen_under_another(tiny_config: ConfigMaker) -> None:
    configs = [
        tiny_config(*TUNED, f"seed={seed}", f"target_modules={s}")
        for seed in (0, 1, 2)
        for s in ("q", "all")
    ]
    sweep = PlantedSweep(2e-4)
    rates = tune_rates(plan_sweep(configs).variants, sweep)
    assert rates == {config.run_id: 2e-4 for config in configs}
    assert len(sweep.trials) == 2 * 5
    assert {trial.seed for trial in sweep.trials} == {1000}
    assert {trial.latency.enabled for trial in sweep.trials} == {False}
    with pytest.raises(UserError, match="tuning_seed and seed are both 1000"):
        tiny_config(*TUNED, "seed=1000")


def test_what_earlier_sweeps_chose_is_kept(untimed_config: ConfigMaker) -> None:
    first = plan(untimed_config, "target_modules=q")
    file = first.config.study_folder / "tuning.json"
    for asked in (first, plan(untimed_config, "target_modules=v"), first):
        tune_rates([asked], PlantedSweep(2e-4))
    assert sorted(row["target_set"] for row in json.loads(file.read_text())) == ["q", "v"]
    file.write_text("{torn")
    tune_rates([first], PlantedSweep(2e-4))
    assert [row["target_set"] for row in json.loads(file.read_text())] == ["q"]


def test_the_grid_starts_from_the_rates_of_another_study(
    untimed_config: ConfigMaker, tmp_path: Path
) -> None:
    rows = [
        {"task": "fincot", "target_set": "q", "method": "lora", "chosen": 1e-3},
        {"task": "invoice_ocr", "target_set": "q", "method": "lora", "chosen": 1e-1},
        {"task": "medmcqa", "target_set": "v", "method": "lora", "chosen": 1e-5},
        {"task": "medmcqa", "target_set": "q", "method": "lora", "chosen": None},
    ]
    (tmp_path / "tuning.json").write_text(json.dumps(rows), encoding="utf-8")
    start = f"train.tuning_study={tmp_path}"
    for name, middle in (("q", 1e-2), ("v", 1e-5), ("k", 2e-4)):
        sweep = PlantedSweep(best=middle)
        asked = plan(untimed_config, start, f"target_modules={name}")
        assert tune_rates([asked], sweep) == {asked.config.run_id: pytest.approx(middle)}
        assert sorted(sweep.rates)[2] == pytest.approx(middle)
    (tmp_path / "tuning.json").write_text("{torn", encoding="utf-8")
    with pytest.raises(UserError, match=r"tuning\.json: no tuned rates"):
        tune_rates([asked], PlantedSweep())
    with pytest.raises(UserError, match="nowhere, which holds no tuning"):
        untimed_config(*TUNED, "train.tuning_study=nowhere")


def test_given_rates_are_left_alone(untimed_config: ConfigMaker) -> None:
    sweep = PlantedSweep()
    assert tune_rates(plan_sweep([untimed_config("train.learning_rate=0.5")]).variants, sweep) == {}
    assert not sweep.trials


def test_halving_drops_the_worse_half_early(untimed_config: ConfigMaker) -> None:
    sweep = PlantedSweep(6.32e-4)
    asked = plan(untimed_config, "train.tuning=halving", "task.train_examples=24")
    assert len(asked.steps) == 8
    assert list(tune_rates([asked], sweep).values()) == [6.32e-4]
    by_length: dict[Any, list[float]] = {}
    for trial in sweep.trials:
        by_length.setdefault(trial.train.max_steps, []).append(trial.train.learning_rate)
    assert {steps: len(rates) for steps, rates in by_length.items()} == {2: 5, 4: 3, None: 2}
    assert 6.32e-4 in by_length[None]


def test_validation_rows_are_neither_trained_on_nor_tested(untimed_config: ConfigMaker) -> None:
    config = untimed_config()
    tested = prepare_task(config, 2048)
    task = dataclasses.replace(config.task, tuning_examples=5)
    held = prepare_task(dataclasses.replace(config, task=task), 2048)
    assert [e.example.id for e in held.train] == [e.example.id for e in tested.train]
    prompts = {e.example.prompt for e in held.test}
    assert len(prompts) == 5
    assert held.split == "validation"
    assert not prompts & {e.example.prompt for e in (*tested.train, *tested.test)}
    own = load_examples(held.spec, "validation", Source("embedded"), limit=5)
    assert [e.example.id for e in held.test] == [example.id for example in own.examples]


def test_losses_are_transformers_own(untimed_config: ConfigMaker) -> None:
    config = untimed_config()
    loaded = load_model(config.model)
    examples = prepare_task(config, 2048).train
    pack = Pack(loaded.model, [])
    respondents = Respondents(pack, [BASE_ROW], loaded.tokenizer)
    (scored,) = measure_losses(respondents, examples, limits=EvaluationConfig(4, 4096))
    for item, result in zip(examples, scored, strict=True):
        ids = torch.tensor([item.prompt_ids + item.completion_ids])
        labels = ids.clone()
        labels[:, : len(item.prompt_ids)] = -100
        with torch.no_grad():
            loss = float(loaded.model(input_ids=ids, labels=labels).loss)
        assert result.scores["loss"] == pytest.approx(loss, rel=1e-4)
        assert result.scores[VALIDATION_METRIC] == pytest.approx(math.exp(-loss), rel=1e-3)


def test_sweep_with_tuned_rates_ends_in_records_of_them(untimed_config: ConfigMaker) -> None:
    tuned = ("train.tuning_rates=3", "train.tuning_most=4", "adapter.learning_rate=1e-2", *TUNED)
    configs = [untimed_config(*tuned), untimed_config(*tuned, "seed=1")]
    configs.append(untimed_config("train.learning_rate=1e-3"))
    outcomes = run.run_sweep(configs)
    assert [outcome.status for outcome in outcomes] == ["ok"] * 3
    (row,) = json.loads((configs[0].study_folder / "tuning.json").read_text())
    rates = []
    for config in configs:
        record = read_record(config.study_folder / "runs" / config.run_id)
        assert record.train is not None
        rates.append(record.train.learning_rate)
    assert rates == [row["chosen"], row["chosen"], 1e-3]
    results = load_results(configs[0].study_folder)
    assert len(results) == 4
    assert set(results.split.dropna()) == {"test"}
    assert results.set_index("run_id").loc[configs[0].run_id, "learning_rate"] == row["chosen"]
    assert sorted(results.variant) == ["base", "o_proj, lr 0.001", *["o_proj, lr tuned"] * 2]


def test_a_finished_grid_is_not_trained_again(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = untimed_config("train.tuning_rates=3", "train.tuning_most=3", *TUNED)
    run.run_sweep([config])
    trained: list[Any] = []
    real = run.train

    def note(runs: Any, **named: Any) -> None:
        trained.append(runs)
        real(runs, **named)

    monkeypatch.setattr(run, "train", note)
    other = untimed_config("train.tuning_rates=3", "train.tuning_most=3", *TUNED, "seed=4")
    run.run_sweep([config, other])
    assert [[run.record.run_id for run in runs] for runs in trained] == [[other.run_id]]


def test_a_variant_without_a_rate_fails_and_the_others_go_on(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, kept = untimed_config(*TUNED), untimed_config("target_modules=q")
    line = UserError("train.learning_rate is tuned: none")
    monkeypatch.setattr(run, "tune_rates", lambda plans, run: {lost.run_id: line})
    outcomes = run.run_sweep([lost, kept])
    assert [outcome.status for outcome in outcomes] == ["failed", "ok"]
    assert outcomes[0].error == str(line)
    folder: Path = lost.study_folder / "runs" / lost.run_id
    assert read_record(folder).error is not None


def test_too_few_rows_to_hold_any_back(untimed_config: ConfigMaker, tmp_path: Path) -> None:
    rows = [
        {"question": f"q{i}", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": i % 4, "id": i}
        for i in range(4)
    ]
    for split in ("train", "test"):
        lines = [json.dumps(row | {"question": f"{split} {row['question']}"}) for row in rows]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    config = untimed_config(*TUNED, "task.source=local", f"task.path={tmp_path}")
    with pytest.raises(UserError, match=r"has 4 examples and task\.train_examples uses 4"):
        run.run_sweep([config])


def test_bad_rates_are_one_line() -> None:
    for value in ("fast", "true"):
        with pytest.raises(UserError, match=r"train\.learning_rate is .*, or tuned"):
            compose([f"train.learning_rate={value}"])
    with pytest.raises(UserError, match="tuning_most is 4; expected at least"):
        compose(["train.learning_rate=tuned", "train.tuning_most=4"])
