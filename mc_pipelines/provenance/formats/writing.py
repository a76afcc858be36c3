"""From an answer to the bytes of a form."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from mc_pipelines.provenance.formats.choice import Form
from mc_pipelines.provenance.formats.cytoscape import write_cytoscape
from mc_pipelines.provenance.formats.dot import write_dot
from mc_pipelines.provenance.formats.edge_list import write_edge_list
from mc_pipelines.provenance.formats.graphml import write_graphml
from mc_pipelines.provenance.formats.mermaid import write_mermaid
from mc_pipelines.provenance.formats.picture import write_picture
from mc_pipelines.provenance.formats.prov_json import write_prov_json
from mc_pipelines.provenance.subgraph import Subgraph


def _write_json(graph: Subgraph) -> bytes:
    return orjson.dumps(graph.document())


_WRITERS: dict[Form, Callable[[Subgraph], bytes]] = {
    Form.JSON: _write_json,
    Form.CYTOSCAPE: write_cytoscape,
    Form.DOT: write_dot,
    Form.GRAPHML: write_graphml,
    Form.MERMAID: write_mermaid,
    Form.PROV_JSON: write_prov_json,
    Form.CSV: write_edge_list,
    Form.SVG: write_picture,
}


def write_form(graph: Subgraph, form: Form) -> bytes:
    """Return an answer in a form; the same answer gives the same bytes.

    Raises:
        NotAcceptableError: the form cannot hold an answer of this size.
    """
    return _WRITERS[form](graph)
