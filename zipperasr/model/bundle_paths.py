"""Resolve paths in a bundle, whose configurations may refer only to files inside it or to models on a hub.

In: a directory, names from its config.yaml. Out: paths below the bundle's root. Training directories of a recipe are
not bundles and may refer to any path.
"""

from __future__ import annotations

from pathlib import Path

META = "meta.yaml"  # in the root of every bundle, and nowhere else
INIT = "init"  # subdirectory of the training that a bundle's training started from; they can be nested


def bundle_root(directory: str | Path) -> Path | None:
    """Root of the bundle that contains a training directory; None for a training of a recipe."""
    directory = Path(directory).resolve()
    while directory.name == INIT and not (directory / META).is_file():
        directory = directory.parent
    return directory if (directory / META).is_file() else None


def check_links(root: Path) -> None:
    """Raises ValueError if a symbolic link leads out of the bundle."""
    for path in sorted(root.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise ValueError(f"{path}: this link leads out of the bundle; replace it with the file it points to")


def check_name(name: str | None, where: str) -> None:
    """Raises ValueError if a bundle's configuration refers to a path outside it. where: the configuration's path."""
    if name is not None and (Path(name).is_absolute() or name.startswith("~") or ".." in Path(name).parts):
        raise ValueError(
            f"{where}: refers to {name:.200}, which is outside the bundle; ask its author for a complete one"
        )


def is_hub_id(name: str) -> bool:
    """True for a name of the form `owner/model` that is not a path on this machine."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists()


def find_inside(name: str, directory: Path, root: Path, hub_id: bool = False) -> str:
    """Resolve a path in the configuration of `directory`, relative to it or to a parent inside the bundle.

    hub_id: return a name of the form `owner/model` unchanged if it is not in the bundle. Raises ValueError for any
    other name that is not found.
    """
    where = str(directory / "config.yaml")
    check_name(name, where)
    directory = directory.resolve()
    for place in (directory, *directory.parents):
        if not place.is_relative_to(root):
            break
        if (place / name).exists():
            return str(place / name)
    if hub_id and is_hub_id(name):
        return name
    raise ValueError(f"{where}: refers to {name:.200}, which is not in the bundle; ask its author for a complete one")
