"""Any target set as a choice of the group `target_modules`, without a file: `target_modules=q+fc1`.

The files under conf/target_modules/ come first; this source answers for every other name that is
made of roles, and gives what a file would.
"""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from harness.config.target_sets import parse_target_set
from harness.errors import UserError

GROUP = "target_modules"


class TargetSetSource(ConfigSource):
    @staticmethod
    def scheme() -> str:
        return "target-sets"

    def load_config(self, config_path: str) -> ConfigResult:
        roles = self._parse(config_path)
        assert roles is not None
        return ConfigResult(
            provider=self.provider,
            path=self.full_path(),
            config=OmegaConf.create({"roles": dict.fromkeys(roles, True)}),
            header={"package": None},
        )

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path.rstrip("/") in ("", GROUP)

    def is_config(self, config_path: str) -> bool:
        return self._parse(config_path) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Name nothing: the files show the usual sets, and there are as many more as subsets."""
        return []

    @staticmethod
    def _parse(config_path: str) -> tuple[str, ...] | None:
        group, _, name = config_path.removesuffix(".yaml").rpartition("/")
        if group != GROUP:
            return None
        try:
            return parse_target_set(name)
        except UserError:
            return None


class TargetSetSearchPath(SearchPathPlugin):
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("target-module-harness", f"{TargetSetSource.scheme()}://")
