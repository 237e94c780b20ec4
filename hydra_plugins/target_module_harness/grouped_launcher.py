"""The local default launcher: all jobs are checked first, then run in packs.

Variants that share base model, task and batches go through the model together, in processes of
their own, so that the base is loaded and scored once and all are timed together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from harness.config.composing import refuse_unread_race, to_config


@dataclass
class GroupedLauncherConf:
    _target_: str = "hydra_plugins.target_module_harness.grouped_launcher.GroupedLauncher"


ConfigStore.instance().store(
    group="hydra/launcher", name="grouped", node=GroupedLauncherConf, provider="harness"
)


class GroupedLauncher(Launcher):
    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run all jobs; each keeps the folder and the return value that it would have alone."""
        from harness.sweep.process_server import start_server

        start_server()
        # Both import the same libraries now, each on a core of its own.
        from harness.cli.sweep import RunFailedError
        from harness.sweep.run import run_sweep
        from harness.sweep.stages import Outcome

        setup_globals()
        jobs = [
            self._compose(initial_job_idx + number, overrides)
            for number, overrides in enumerate(job_overrides)
        ]
        for job in jobs:
            refuse_unread_race(job.hydra)
        outcomes = run_sweep([to_config(job) for job in jobs], in_processes=True)

        def conclude(job: DictConfig, outcome: Outcome) -> JobReturn:
            def return_outcome(_: DictConfig) -> float | None:
                if outcome.status != "ok":
                    raise RunFailedError(f"{outcome.run_id}: {outcome.error}")
                return outcome.score

            return run_job(
                task_function=return_outcome,
                config=job,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
                hydra_context=self.hydra_context,
            )

        return [conclude(job, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]

    def _compose(self, number: int, overrides: Sequence[str]) -> DictConfig:
        job = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(job):
            job.hydra.job.id = str(number)
            job.hydra.job.num = number
        Path(str(job.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        return job
