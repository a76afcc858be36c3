"""Contracts that come with the package: terms restated from published service level agreements."""

from __future__ import annotations

from importlib.resources import files

from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.sla.contract import Signed
from mc_pipelines.sla.document import load_contract

_FOLDER = files("mc_pipelines.sla").joinpath("templates")


def template_names() -> list[str]:
    """Return the names of all templates, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml"))


def template_text(name: str) -> str:
    """Return the text of a template, to copy and change.

    Raises:
        NotFoundError: there is none of this name.
    """
    if name not in template_names():
        raise NotFoundError(
            "No such contract template", field="template", value=name, mend="`mc sla contracts ls` lists them"
        )
    return _FOLDER.joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def template(name: str) -> Signed:
    """Return a template as a contract.

    Raises:
        NotFoundError: there is none of this name.
    """
    return load_contract(template_text(name))
