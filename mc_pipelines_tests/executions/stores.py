"""A store in memory, for tests of what is written and read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Listed:
    path: str


@dataclass
class MemoryStore:
    objects: dict[str, bytes] = field(default_factory=dict)

    def put(self, path: str, content: bytes, *, if_absent: bool = True) -> bool:
        if if_absent and path in self.objects:
            return False
        self.objects[path] = content
        return True

    def get(self, path: str) -> bytes:
        return self.objects[path]

    def list(self, prefix: str) -> Iterator[Listed]:
        yield from (Listed(path) for path in sorted(self.objects) if path.startswith(prefix))
