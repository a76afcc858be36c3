"""The forms in which an answer leaves: one text per form, each with all nodes, all edges, and what is missing.

A reader names a form by ``format=`` or by ``Accept``; what she cannot get is refused (406), never guessed.
"""

from __future__ import annotations

from mc_pipelines.provenance.formats.choice import Form, NotAcceptableError, choose_form
from mc_pipelines.provenance.formats.writing import write_form

__all__ = ["Form", "NotAcceptableError", "choose_form", "write_form"]
