"""The race as a Hydra sweeper: `python -m harness --multirun hydra/sweeper=race ...`.

Each round is a batch of ordinary jobs for whichever launcher is configured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from harness.config.composing import expand_overrides, keep_last, to_config
from harness.records.race_record import RaceJob


@dataclass
class RaceSweeperConf:
    _target_: str = "hydra_plugins.target_module_harness.race_sweeper.RaceSweeper"
    params: dict[str, str] | None = field(default_factory=dict)


ConfigStore.instance().store(
    group="hydra/sweeper", name="race", node=RaceSweeperConf, provider="harness"
)


class RaceSweeper(Sweeper):
    def __init__(self, params: dict[str, str] | None = None) -> None:
        self.params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.config = config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: Sequence[str]) -> None:
        """Race all combinations of the overrides, which are those of an ordinary sweep."""
        from harness.cli.racing import TUNED_RATE, run_race_of
        from harness.cli.sweep import RunFailedError

        assert self.config is not None
        assert self.hydra_context is not None
        own = [f"{key}={value}" for key, value in self.params.items()]
        first = [TUNED_RATE] if self.config.race.tune_rates else []
        batch = expand_overrides(keep_last([*own, *first, *arguments]))
        loader = self.hydra_context.config_loader
        arms = [to_config(loader.load_sweep_config(self.config, job)) for job in batch]
        overrides = {arm.run_id: job for arm, job in zip(arms, batch, strict=True)}
        self.launched = 0
        report = run_race_of(arms, partial(self._launch, overrides))
        failures = [line for each in report.recommendations for line in each.failures]
        if failures:
            raise RunFailedError(failures[0])

    def _launch(self, overrides: dict[str, list[str]], jobs: Sequence[RaceJob]) -> None:
        from harness.sweep.race import list_overrides

        assert self.config is not None
        if not self.launched:
            # Not before: a command that is refused leaves that of the race alone.
            OmegaConf.save(self.config, Path(self.config.hydra.sweep.dir) / "multirun.yaml")
        batch = [[*overrides[job.arm], *list_overrides(job)] for job in jobs]
        # What came of a job is in its record; reading its return value would raise its error.
        self.launcher.launch(batch, initial_job_idx=self.launched)
        self.launched += len(batch)
