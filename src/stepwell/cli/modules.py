"""``MODULE:workflow``: finding users' workflows by dotted name or by file."""

import importlib
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from stepwell import Workflow
from stepwell.authoring.workflow import registry
from stepwell.cli.exits import UsageError

_FRAMES_MAX: Final = 8
_IMPORTLIB: Final = str(Path(importlib.__file__ or "").parent)


def find_workflow(target: str) -> Workflow[Any, Any]:
    """Return the one workflow that ``MODULE:attribute``, or ``MODULE`` with a single workflow in it, names.

    Raises:
        UsageError: There is no such module or workflow, the module fails to import, or there are several.
    """
    found = find_workflows(target)
    if len(found) > 1:
        names = ", ".join(sorted(wf.name for wf in found))
        raise UsageError(f"{target!r} has several workflows ({names}): say which, as in {target}:{_attribute_hint(found[0])}")
    return found[0]


def find_workflows(target: str) -> list[Workflow[Any, Any]]:
    """Return the workflows that ``MODULE`` defines or holds, or the one that ``MODULE:attribute`` names.

    ``attribute`` is the name of a variable, or the name of a workflow.

    Raises:
        UsageError: As in ``find_workflow``.
    """
    place, attribute = _split(target)
    known = {id(wf) for wf in registry.all()}
    module = _load(place)
    held = _held(module)
    made = [wf for wf in registry.all() if id(wf) not in known]
    workflows = list({id(wf): wf for wf in [*held.values(), *made]}.values())
    if attribute:
        named = [held[attribute]] if attribute in held else [wf for wf in workflows if wf.name == attribute]
        if not named:
            names = ", ".join(sorted({wf.name for wf in workflows})) or "none"
            raise UsageError(f"{place!r} has no workflow {attribute!r} (it has: {names})")
        return named
    if not workflows:
        raise UsageError(f"{place!r} defines no workflow")
    return workflows


def _held(module: ModuleType) -> dict[str, Workflow[Any, Any]]:
    variables: dict[str, Any] = vars(module)
    return {name: value for name, value in variables.items() if isinstance(value, Workflow)}


def _attribute_hint(wf: Workflow[Any, Any]) -> str:
    return wf.name if not wf.name.isidentifier() else wf.fn.__name__


def _split(target: str) -> tuple[str, str]:
    """Part ``MODULE:attribute``. The colon behind the letter of a drive is none of ours."""
    place, colon, attribute = target.rpartition(":")
    return (target, "") if not colon or "\\" in attribute or "/" in attribute or attribute.endswith(".py") else (place, attribute)


def _load(place: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    is_file = place.endswith(".py") or "/" in place or os.sep in place
    path = Path(place).resolve() if is_file else None
    name = place if path is None else _dotted_name(place, path)
    module = _import(name, place)
    file = getattr(module, "__file__", None) or "inside Python"
    if path is not None and Path(file).resolve() != path:
        raise UsageError(f"{place!r} is hidden by another module {name!r}, at {file}: rename it")
    return module


def _dotted_name(place: str, path: Path) -> str:
    """Return the name by which a file is imported, and put the folder of its outermost package on the path."""
    if not path.is_file():
        raise UsageError(f"there is no file {place!r}")
    parts = [path.stem] if path.stem != "__init__" else []
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return ".".join(parts)


def _import(name: str, place: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{place!r} is no name of a module")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The module itself is missing, or the package around it; not something that it imports.
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(f"there is no module {error.name!r} in {Path.cwd()} or on the path") from None
        raise _import_failed(place, error) from None
    except (Exception, SystemExit) as error:  # users' modules run here, and may raise anything
        raise _import_failed(place, error) from None


def _import_failed(place: str, error: BaseException) -> UsageError:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((__file__, "<frozen importlib", _IMPORTLIB))]
    lines = traceback.format_list(own[-_FRAMES_MAX:]) + traceback.format_exception_only(error)
    return UsageError(f"cannot import {place!r}: {type(error).__name__}", detail="".join(lines).rstrip())
