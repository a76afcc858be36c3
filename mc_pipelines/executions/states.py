"""The states of an execution and the moves between them."""

from __future__ import annotations

from enum import StrEnum

from mc_pipelines.foundation.errors import ConflictError


class State(StrEnum):
    """Where an execution stands."""

    PUBLISHED = "published"
    DENIED = "denied"
    QUEUED = "queued"
    CLAIMED = "claimed"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


TERMINAL = frozenset({State.DENIED, State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST})
_MOVES: dict[State, frozenset[State]] = {
    State.PUBLISHED: frozenset({State.QUEUED, State.DENIED, State.CANCELLED}),
    State.QUEUED: frozenset({State.CLAIMED, State.DENIED, State.CANCELLED}),
    State.CLAIMED: frozenset({State.RUNNING, State.QUEUED, State.DENIED, State.CANCELLED, State.FAILED, State.LOST}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST, State.QUEUED}),
}


def check_move(before: State, after: State) -> None:
    """Check that a move is one of the table above.

    Raises:
        ConflictError: it is not; a terminal state is never left.
    """
    if after not in _MOVES.get(before, frozenset()):
        raise ConflictError(f"An execution does not go from {before} to {after}", field="state", value=str(before))
