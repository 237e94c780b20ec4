"""Any target set as a choice of the group `target_modules`, without a file: `target_modules=q+fc1`.

The files under conf/target_modules/ come first; this source answers for every other name that is
made of roles, and gives what a file would.
"""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from harness.config.target_sets import EVERY_LAYER, parse_target_set

GROUP = "target_modules"


class TargetSetSource(ConfigSource):
    @staticmethod
    def scheme() -> str:
        return "target-sets"

    def load_config(self, config_path: str) -> ConfigResult:
        target = parse_target_set(_name_of(config_path))
        values: dict[str, object] = {"roles": dict.fromkeys(target.roles, True)}
        if target.layers != EVERY_LAYER:
            values["layers"] = target.layers
        return ConfigResult(
            provider=self.provider,
            path=self.full_path(),
            config=OmegaConf.create(values),
            header={"package": None},
        )

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path.rstrip("/") in ("", GROUP)

    def is_config(self, config_path: str) -> bool:
        """Whether the name is asked of the group; one that is no target set raises UserError."""
        name = _name_of(config_path)
        if name:
            parse_target_set(name)
        return bool(name)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Name nothing: the files show the usual sets, and there are as many more as subsets."""
        return []


def _name_of(config_path: str) -> str:
    """The name of a choice of the group; empty for other paths."""
    group, _, name = config_path.removesuffix(".yaml").rpartition("/")
    return name if group == GROUP else ""


class TargetSetSearchPath(SearchPathPlugin):
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("target-module-harness", f"{TargetSetSource.scheme()}://")
