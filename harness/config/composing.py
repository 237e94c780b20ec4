"""From command-line overrides and Hydra's dictionaries to typed, checked values.

With `harness.cli.sweep` and the Hydra plugins, this is the only module that knows Hydra.
"""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import harness.config.task_package  # noqa: F401  (before tasks)
from harness.config.content import digest_data, digest_metric, digest_model, find_pinned
from harness.config.schema import Config, ModelConfig
from harness.config.task_source import find_source
from harness.config.validation import check_size, validate
from harness.errors import UserError, explain
from tasks.base import DataError

KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
"""OmegaConf's name of a type -> ours."""


def to_config(values: DictConfig) -> Config:
    """Turn Hydra's configuration into checked, typed values; UserError names the bad key."""
    # `variables` only feed interpolations, which are resolved here.
    check_size(values.get("variables") or {})
    own = [str(key) for key in values if key not in ("hydra", "experiment", "variables")]
    schema = OmegaConf.structured(Config)
    # OmegaConf takes frozen dataclasses for read-only, but this is where they are filled.
    for node in (schema, *(section for section in schema.values() if OmegaConf.is_config(section))):
        OmegaConf.set_readonly(node, False)
    try:
        plain = {key: _resolve(values, key) for key in own}
        merged = OmegaConf.merge(schema, plain)
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        first_line = str(error).splitlines()[0]
        wrong = re.fullmatch(
            r"Value '(.*)' of type '.*' could not be converted to (.*)", first_line
        )
        if wrong and wrong[2] in KINDS:
            reason = f"{error.full_key} is {wrong[1]!r}; expected {KINDS[wrong[2]]}"
            raise UserError(reason) from error
        if "chat_template_kwargs" in str(error.full_key) + first_line:
            given = OmegaConf.select(values, "model.chat_template_kwargs")
            reason = (
                f"model.chat_template_kwargs is {given}; expected {{enable_thinking: false}}, say"
            )
            raise UserError(reason) from error
        raise UserError(f"config: {error.full_key or 'top level'}: {first_line}") from error
    assert isinstance(config, Config)
    validate(config)
    try:
        return _find_content(config)
    except DataError as error:  # as a user's error also where Hydra asks for a value
        raise UserError(str(error)) from error


def _find_content(config: Config) -> Config:
    """Fill in what is to be read: the source, commits, and digests of files."""
    model, task = config.model, find_source(config.task)
    if model.source == "hub":
        commit = find_pinned(config.study_folder, "model", str(model.path), model.revision)
        model = dataclasses.replace(model, revision=commit or model.revision)
    if task.source == "hub" and task.dataset is not None:
        commit = find_pinned(config.study_folder, "task", task.dataset, task.revision)
        task = dataclasses.replace(task, revision=commit or task.revision)
    return dataclasses.replace(
        config,
        model=model,
        task=task,
        data_digest=digest_data(task),
        model_digest=_digest_model(model),
        metric_digest=digest_metric(task.metric, task.path),
    )


def _digest_model(model: ModelConfig) -> str | None:
    if model.source != "local":
        return None
    return digest_model(Path(str(model.path)), reads_generation=model.generation == "checkpoint")


def _resolve(values: DictConfig, key: str) -> Any:
    value = values[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def conf_folder() -> Path:
    """Return the folder of the YAML files: inside the package when installed, else beside it."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def compose(overrides: Sequence[str]) -> Config:
    """Compose the configuration from command-line overrides, outside a Hydra job.

    Raises UserError, in one line, for an unknown choice or key and for a bad value.
    """
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            values = hydra_compose("config", overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    return to_config(values)


def refuse_unread_race(hydra: Any) -> None:
    """Raise UserError for settings of the race in a job of none; `hydra` is the job's section.

    A race without --multirun would be one plain run.
    """
    named = [str(each) for each in hydra.overrides.task]
    named = [each for each in named if each.lstrip("+~").startswith("race.")]
    is_race = str(hydra.sweeper._target_).endswith(".RaceSweeper")
    is_multirun = hydra.mode is RunMode.MULTIRUN
    if is_race and not is_multirun:
        raise UserError("hydra/sweeper is race, but this is a single run; add --multirun")
    if named and not is_race:
        key = named[0].lstrip("+~").split("=")[0]
        raise UserError(
            f"{named[0]} is set, but only a race reads it; add --multirun hydra/sweeper=race, or "
            f"leave {key} out"
        )


def expand_overrides(overrides: Sequence[str]) -> list[list[str]]:
    """Write a sweep's overrides out, one list a job, as Hydra's own sweeper does.

    `["a=1,2", "b=3"]` is `[["a=1", "b=3"], ["a=2", "b=3"]]`. Raises UserError for what Hydra cannot
    parse.
    """
    return [list(job) for job in itertools.product(*map(_expand_override, overrides))]


def check_overrides(overrides: object) -> None:
    """Raise UserError unless these are a list of overrides."""
    listed = list(overrides) if isinstance(overrides, Sequence) else [None]
    if isinstance(overrides, str) or not all(isinstance(each, str) for each in listed):
        raise UserError(
            f"overrides are {overrides!r}; expected a list of strings such as "
            '["target_modules=qkv,o_proj", "task=medmcqa"]'
        )
    hydra = next((each for each in listed if str(each).lstrip("+~").startswith("hydra")), None)
    if hydra is not None:
        raise UserError(f"{hydra}: from Python, runs are started here; leave hydra's settings out")


def keep_last(overrides: Sequence[str]) -> list[str]:
    """Return the overrides with the last of those for one key, as a command line has it."""
    return list({each.split("=", 1)[0].lstrip("+"): each for each in overrides}.values())


def _expand_override(override: str) -> list[str]:
    try:
        parsed = OverridesParser.create().parse_override(override)
        if not parsed.is_sweep_override():
            return [override]
        return [f"{parsed.get_key_element()}={v}" for v in parsed.sweep_string_iterator()]
    except HydraException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{override}: Hydra cannot read this override ({reason})") from error
