"""The size of a sweep whose experiment leaves `variables.size` at `auto`: what fits the machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf, open_dict

from harness.config.composing import expand_overrides, keep_last, to_config
from harness.config.schema import Config
from harness.records.study_size import Sizes
from harness.sweep.process_server import start_server


def fit_sweep(study: Path, config: DictConfig) -> None:
    """Add the size to the overrides of all jobs; `config` is that of the whole multirun."""
    # Workers come from it, and it imports the same libraries meanwhile.
    start_server()
    from harness.sweep.sizing import fit_size

    sizes: Any = OmegaConf.to_container(config.variables.sizes, resolve=True)
    del sizes["auto"]
    jobs = expand_overrides([*_list_swept(config), f"variables.size={list(sizes)[-1]}"])
    loader = GlobalHydra.instance().config_loader()
    configs = [to_config(loader.load_sweep_config(config, job)) for job in jobs]
    size = fit_size(study, fix_counts(sizes, configs), configs)
    with open_dict(config):
        config.hydra.overrides.task.append(f"variables.size={size}")


def _list_swept(config: DictConfig) -> list[str]:
    """The sweep's overrides: the experiment's own, unless the user gives another."""
    params: Any = OmegaConf.to_container(config.hydra.sweeper.params or OmegaConf.create({}))
    own = [f"{key}={value}" for key, value in params.items()]
    users = [str(each) for each in config.hydra.overrides.task]
    return keep_last([*own, *users])


def fix_counts(sizes: Sizes, configs: Sequence[Config]) -> Sizes:
    """Return the sizes as these jobs have them, which were composed at the largest size.

    Only the jobs' tasks are left. A number of examples that the user gives, with a setting such as
    `task.test_examples=60`, is the same at every size.
    """
    largest = sizes[list(sizes)[-1]]
    fixed: dict[str, dict[str, dict[str, int]]] = {
        size: {part: {} for part in parts} for size, parts in sizes.items()
    }
    for config in configs:
        name = config.task.name
        for part in largest:
            count = getattr(config.task, part)
            is_given = count is not None and count != largest[part][name]
            for size, parts in sizes.items():
                fixed[size][part][name] = count if is_given else parts[part][name]
    return fixed
