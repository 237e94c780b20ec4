"""The Hydra entry: one job is one variant.

python -m harness target_modules=o_proj task=medmcqa
python -m harness --multirun target_modules=qkv,o_proj,all task=medmcqa,govreport
"""

import gc
import os
import sys
import time
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from harness.cli.quiet_end import end_quietly
from harness.config.composing import conf_folder, refuse_unread_race, to_config
from harness.config.schema import Config
from harness.errors import UserError, explain, find_cause
from harness.signals import was_interrupted

_started_studies: list[Path] = []
_run_errors: list[Exception] = []


class RunFailedError(UserError):
    """A variant failed; its record holds the traceback."""


class StudyCallback(Callback):
    """Remembers the study of this command, so that `main` can report on it, whatever happened.

    Where the experiment leaves its size open, a sweep's jobs get the size that fits the machine.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        _started_studies.append(Path(config.results_dir) / config.study)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        study = Path(config.results_dir) / config.study
        _started_studies.append(study)
        if config.variables.get("size") == "auto":
            from harness.cli.fitting import fit_sweep

            fit_sweep(study, config)


def _resolve_run_id(*, _root_: DictConfig) -> str:
    return to_config(_root_).run_id


OmegaConf.register_new_resolver("run_id", _resolve_run_id, replace=True)


@hydra.main(config_path=str(conf_folder()), config_name="config", version_base="1.3")
def run(values: DictConfig) -> float | None:
    """Run one variant and return its headline score; a failed one raises RunFailedError."""
    try:
        refuse_unread_race(HydraConfig.get())
        return run_variant(to_config(values))
    except Exception as error:
        if HydraConfig.get().mode is not RunMode.RUN:
            raise
        # Hydra would print a line of its own before passing it on to `main`.
        _run_errors.append(error)
        return None


def run_variant(config: Config) -> float | None:
    """Run one variant in this process and return its headline score."""
    from harness.sweep.run import run_sweep

    outcome = run_sweep([config])[0]
    if outcome.status != "ok":
        raise RunFailedError(f"{outcome.run_id}: {outcome.error}")
    return outcome.score


@end_quietly
def main() -> None:
    """Run Hydra, report on the study, and turn errors into one line and an exit status."""
    show_traceback = "HYDRA_FULL_ERROR" in os.environ
    # Hydra prints its own errors in several lines and exits; with this it passes them on.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # The hub's client logs every retry; what came of them is said in one line.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    status, started = 0, time.time()
    try:
        run()
        if _run_errors:
            raise _run_errors[0]
    except Exception as error:
        if show_traceback or was_interrupted():
            raise
        print(f"error: {explain(error)}", file=sys.stderr)
        status = 1 if find_cause(error, RunFailedError) else 2
    for study in _started_studies:
        # Of a command that was refused, the study's table says nothing.
        if not status or _has_changed(study, started):
            status = report_study(study) or status
    # All that the libraries made would be searched for garbage, which takes seconds.
    gc.freeze()
    sys.exit(status)


def _has_changed(study: Path, since: float) -> bool:
    """Whether a run has been recorded since a time, in seconds since 1970."""
    return any(path.stat().st_mtime >= since for path in study.glob("runs/*/record.json"))


def report_study(study: Path) -> int:
    """Build the report of what is there, print its table; return an exit status."""
    from harness.reporting.study_report import build_report

    if not any(study.glob("runs/*/record.json")):
        return 0
    try:
        report = build_report(study)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report.text)
    print(f"report: {report.html}")
    return 0
