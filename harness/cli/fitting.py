"""The size of a sweep whose experiment leaves `variables.size` at `auto`: what fits the machine."""

from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf, open_dict

from harness.config.composing import expand_overrides, keep_last, to_config
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
    size = fit_size(study, sizes, configs)
    with open_dict(config):
        config.hydra.overrides.task.append(f"variables.size={size}")


def _list_swept(config: DictConfig) -> list[str]:
    """The sweep's overrides: the experiment's own, unless the user gives another."""
    params: Any = OmegaConf.to_container(config.hydra.sweeper.params or OmegaConf.create({}))
    own = [f"{key}={value}" for key, value in params.items()]
    users = [str(each) for each in config.hydra.overrides.task]
    return keep_last([*own, *users])
