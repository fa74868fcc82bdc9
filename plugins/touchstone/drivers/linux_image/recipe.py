"""What a Linux box is made of: ``targets/images/NAME.toml``, and the files beside it."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from touchstone.drivers.linux_image.packages import Source
from touchstone.machine.driver import InfrastructureError
from touchstone.shipped import source_root

FILES = ("init", "sshd_config")
"""What every box has of ours, beside the recipes."""
CODE = ("cpio.py", "image.py", "modules.py", "recipe.py")
"""A change in what makes images makes new ones."""


@dataclass(frozen=True)
class Recipe:
    """One recipe, checked."""

    name: str
    suite: str
    mirror: str
    security: str
    keyring: str
    kernel: str
    packages: tuple[str, ...]
    leave_out: tuple[str, ...]
    modules: tuple[str, ...]
    drop: tuple[str, ...]
    directory: Path
    digest: str
    """Changes with everything that the image is made of, but not with new versions of packages."""

    @property
    def source(self) -> Source:
        """Where its packages come from."""
        return Source(self.suite, self.mirror, self.security, Path(self.keyring))

    def read(self, name: str) -> bytes:
        """One of FILES."""
        return (self.directory / name).read_bytes()


def names(root: Path | None = None) -> list[str]:
    """The recipes that there are."""
    return sorted(path.stem for path in _directory(root).glob("*.toml"))


def read_recipe(name: str, root: Path | None = None) -> Recipe:
    """A recipe by its name. InfrastructureError that names the file, and the key that is wrong."""
    directory = _directory(root)
    path = directory / f"{name}.toml"
    try:
        raw = path.read_bytes()
        table = tomllib.loads(raw.decode("utf-8"))
    except FileNotFoundError:
        raise InfrastructureError(f"there is no image {name!r}; {_there_is(name, names(root))}") from None
    except (OSError, ValueError) as error:
        raise InfrastructureError(f"{path}: {error}") from None
    values: dict[str, Any] = {}
    known = {field.name: field.type for field in fields(Recipe)}
    for key, value in table.items():
        field = key.replace("-", "_")
        if field not in known or field in ("name", "directory", "digest"):
            raise InfrastructureError(
                f"{path}: unknown key {key!r}; {_there_is(key, [name.replace('_', '-') for name in known])}"
            )
        values[field] = _checked(path, key, value, is_list=known[field] == "tuple[str, ...]")
    if missing := [
        field for field in known if field not in values and field not in ("name", "directory", "digest")
    ]:
        raise InfrastructureError(f"{path}: {missing[0].replace('_', '-')} is missing")
    digest = hashlib.sha256(raw)
    for part in (*(directory / file for file in FILES), *(Path(__file__).parent / file for file in CODE)):
        try:
            digest.update(part.read_bytes())
        except OSError as error:
            raise InfrastructureError(f"{part}: {error.strerror}: every image is made with it") from None
    return Recipe(name=name, directory=directory, digest=digest.hexdigest()[:16], **values)


def _checked(path: Path, key: str, value: object, *, is_list: bool) -> object:
    if is_list:
        if isinstance(value, list) and all(isinstance(word, str) and word for word in value):
            return tuple(value)
        raise InfrastructureError(f"{path}: {key} = {value!r} is not a list of strings")
    if not isinstance(value, str):
        raise InfrastructureError(f"{path}: {key} = {value!r} is not a string")
    return value


def _there_is(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"there is {', '.join(known)}"


def _directory(root: Path | None) -> Path:
    return (root or source_root()) / "targets" / "images"
