"""The package of a hardware back end, written from a template: names, files, and where they may go."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from mpq_plugins.errors import MPQError, OutputError

PREFIX = "mpq-"
NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
TEMPLATES = "backend_template"
FILES: Mapping[str, str] = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "src/$package/__init__.py": "init.py.txt",
    "src/$package/plugin.py": "plugin.py.txt",
    "src/$package/op.py": "op.py.txt",
    "src/$package/torch_layers.py": "torch_layers.py.txt",
    "src/$package/target.json": "target.json.txt",
    "tests/test_conformance.py": "test_conformance.py.txt",
}
"""What is written, by the template that it is written from."""


@dataclass(frozen=True)
class BackendNames:
    """What is named in the package of a back end.

    >>> BackendNames.of("mpq_Acme")
    BackendNames(distribution='mpq-acme', package='mpq_acme', plugin='acme', target='acme-npu', \
resource='acme_energy', op='acme_hump')
    """

    distribution: str
    package: str
    plugin: str
    target: str
    resource: str
    op: str

    @classmethod
    def of(cls, name: str, target: str | None = None) -> BackendNames:
        """The names that follow from the distribution's. Raises MPQError for one that no package can have."""
        distribution = re.sub(r"[-_.]+", "-", name).lower()
        package = distribution.replace("-", "_")
        if not NAME.fullmatch(distribution) or keyword.iskeyword(package):
            raise MPQError(
                f"{name!r} is no name for a package: use letters, digits and '-', a letter first, such as mpq-acme; "
                "the directory's name is taken unless --name gives another"
            )
        plugin = distribution.removeprefix(PREFIX) or distribution
        word = plugin.replace("-", "_")
        return cls(distribution, package, plugin, target or f"{plugin}-npu", f"{word}_energy", f"{word}_hump")

    def check_free(self) -> None:
        """Raise MPQError where a name belongs to something else in this environment."""
        from mpq_plugins.plugins import host

        found = importlib.util.find_spec(self.package)
        if self.package in sys.stdlib_module_names or (found is not None and found.origin is not None):
            raise MPQError(f"there is a package {self.package!r} in this environment already; give another --name")
        if self.plugin in {plugin.name for plugin in host().plugins()}:
            raise MPQError(f"there is a plug-in {self.plugin!r} in this environment already; give another --name")
        if self.target in host().targets():
            raise MPQError(f"there is a target {self.target!r} already; give another --target")


def render(names: BackendNames) -> dict[str, str]:
    """The files of the package, by path.

    >>> sorted(render(BackendNames.of("mpq-acme")))[-1]
    'tests/test_conformance.py'
    """
    words = asdict(names)
    templates = files("mpq_plugins.plugins").joinpath(TEMPLATES)
    return {
        Template(path).substitute(words): Template(templates.joinpath(template).read_text(encoding="utf-8")).substitute(
            words
        )
        for path, template in FILES.items()
    }


def check_directory(directory: Path) -> None:
    """Raise OutputError unless the directory is empty, or can be made in one that is there."""
    try:
        if directory.exists() and not directory.is_dir():
            raise OutputError(f"cannot write {directory}: it is a file")
        if directory.is_dir() and any(directory.iterdir()):
            raise OutputError(f"cannot write {directory}: it is not empty; give a new directory")
        if not directory.absolute().parent.is_dir():
            raise OutputError(f"cannot write {directory}: there is no directory {directory.absolute().parent}")
    except OSError as error:
        raise OutputError(f"cannot write {directory}: {error.strerror}") from error


def write_package(directory: Path, contents: Mapping[str, str]) -> None:
    """Write files by their paths below the directory. Raises OutputError, naming the file."""
    for name, text in contents.items():
        path = directory / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from error
