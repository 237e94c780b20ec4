"""The race from Python, and what it shares with the command line.

recommendation = harness.race(["target_modules=qkv,o_proj,all", "task=medmcqa"], hours=2)
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from harness.analysis.verdict.recommendation import Recommendation
from harness.config.composing import check_overrides, compose, expand_overrides, keep_last
from harness.config.schema import Config
from harness.records.locks import hold_study
from harness.records.race_record import RaceJob
from harness.reporting.study_report import Report, build_report

if TYPE_CHECKING:
    from harness.sweep.race import Launch


TUNED_RATE = "train.learning_rate=tuned"
"""Goes before the user's own overrides, which win."""


def race(overrides: Sequence[str], **settings: object) -> Recommendation:
    """Race the combinations of command-line overrides; return the recommendation at the end.

    `settings` are those of the section `race`: `tolerance`, `max_seeds`, `max_runs`, `hours`,
    `more_examples`, `tune_rates`. Call it under `if __name__ == "__main__"`: runs have processes of
    their own. Raises UserError where the race cannot work, or all of its first round fails.
    """
    check_overrides(overrides)
    named = [f"race.{key}={'null' if value is None else value}" for key, value in settings.items()]
    given = keep_last([*overrides, *named])
    batch = expand_overrides(given)
    if compose(batch[0]).race.tune_rates:
        batch = expand_overrides(keep_last([TUNED_RATE, *given]))
    arms = [compose(job) for job in batch]
    return run_race_of(arms, partial(_run_here, arms)).recommendations[0]


def run_race_of(arms: Sequence[Config], launch: "Launch") -> Report:
    """Race, with a report after every round; return the last one."""
    from harness.sweep.race import run_race

    study = arms[0].study_folder
    with hold_study(study):
        run_race(arms, launch, partial(build_report, study))
        return build_report(study)


def _run_here(arms: Sequence[Config], jobs: Sequence[RaceJob]) -> None:
    from harness.sweep.process_server import start_server
    from harness.sweep.race import apply_job
    from harness.sweep.run import run_sweep

    start_server()
    by_name = {arm.run_id: arm for arm in arms}
    run_sweep([apply_job(by_name[job.arm], job) for job in jobs], in_processes=True)
