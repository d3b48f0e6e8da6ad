"""Resolve paths in a bundle, whose configurations may name only files inside it or models on a hub.

In: a directory, names from a config.yaml. Out: paths below the bundle's root. Training directories of a recipe are not
bundles and may name any path.
"""

from __future__ import annotations

from pathlib import Path

META = "meta.yaml"  # in the root of every bundle, and nowhere else
INIT = "init"  # the training that a bundle's training started from, and within it that one's


def bundle_root(directory: str | Path) -> Path | None:
    """The root of the bundle that a training directory is in; None for a training of a recipe."""
    directory = Path(directory).resolve()
    while directory.name == INIT and not (directory / META).is_file():
        directory = directory.parent
    return directory if (directory / META).is_file() else None


def check_links(root: Path) -> None:
    """Raises ValueError if a symbolic link leads out of the bundle."""
    for path in sorted(root.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise ValueError(f"{path}: a link out of the bundle; replace it by the file it names")


def check_name(name: str | None, said_by: str) -> None:
    """Raises ValueError if a bundle's configuration names a path that leads out of it."""
    if name is not None and (Path(name).is_absolute() or name.startswith("~") or ".." in Path(name).parts):
        raise ValueError(
            f"{said_by}: names {name:.200}, which is outside the bundle; ask its author for a complete one"
        )


def find_inside(name: str, directory: Path, root: Path, hub_id: bool = False) -> str:
    """A path that a configuration in `directory` names: there, or above it in the bundle.

    hub_id: a name of the form `owner/model` that the bundle does not hold stays as it is. Raises ValueError for others.
    """
    said_by = str(directory / "config.yaml")
    check_name(name, said_by)
    directory = directory.resolve()
    for place in (directory, *directory.parents):
        if not place.is_relative_to(root):
            break
        if (place / name).exists():
            return str(place / name)
    if hub_id and name.count("/") == 1 and not Path(name).exists():
        return name
    raise ValueError(f"{said_by}: names {name:.200}, which is not in the bundle; ask its author for a complete one")
