"""What a bill of materials contains: everything it lists stands below its root, whatever its relations leave out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.readers.collector import Collector


@dataclass
class Containment:
    """Edges of one bill of materials, and what it lists.

    Attributes:
        collector: where the edges go.
        listed: what the document lists, in its order.
    """

    collector: Collector
    listed: list[NodeId] = field(default_factory=list)
    _children: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def uses(self, source: NodeId, target: NodeId) -> None:
        """Claim that ``source`` uses ``target``."""
        self.collector.uses(source, target)
        self._children[source].append(target)

    def contain(self, top: NodeId) -> None:
        """Let ``top`` use every listed thing that nothing else makes reachable from it.

        First what nothing enters, then what only cycles enter, so that as few edges as possible are added.
        """
        reached: set[str] = {top}
        entered = {target for targets in self._children.values() for target in targets}
        self._spread([top], reached)
        for only_unentered in (True, False):
            for node in self.listed:
                if node not in reached and not (only_unentered and node in entered):
                    self.collector.uses(top, node)
                    reached.add(node)
                    self._spread([node], reached)

    def _spread(self, waiting: list[str], reached: set[str]) -> None:
        children = self._children
        while waiting:
            for target in children.get(waiting.pop(), ()):
                if target not in reached:
                    reached.add(target)
                    waiting.append(target)
