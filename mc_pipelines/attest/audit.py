"""Recompute the whole log from its leaves: the check that believes no stored hash."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select

from mc_pipelines.attest.checkpoint import verify_checkpoint
from mc_pipelines.attest.merkle import covering_nodes, fold, grow, leaf_hash
from mc_pipelines.attest.note import NoteKey
from mc_pipelines.attest.records import log_checkpoint, log_entry, log_leaf, log_node, log_pending
from mc_pipelines.attest.report import Report
from mc_pipelines.foundation.errors import MaestroError


def audit_log(connection: Connection, keys: Iterable[NoteKey]) -> Report:
    """Check every index, leaf, node and signed head of the log.

    Args:
        connection: any transaction.
        keys: trusted note keys of the log.
    """
    report = Report("audit log")
    rows = connection.execute(
        select(log_entry.c.leaf_index, log_leaf.c.entry)
        .join(log_leaf, log_leaf.c.leaf_id == log_entry.c.leaf_id)
        .order_by(log_entry.c.leaf_index)
    ).all()
    if [row.leaf_index for row in rows] != list(range(len(rows))):
        report.problems.append("The indices have a gap.")
        return report
    nodes = dict(grow(0, {}, (leaf_hash(bytes(row.entry)) for row in rows)))
    stored = {(row.level, row.node_index): bytes(row.hash) for row in connection.execute(select(log_node))}
    if stored != nodes:
        report.problems.append("A stored node is not the hash of its leaves.")
    trusted = tuple(keys)
    heads = connection.execute(select(log_checkpoint).order_by(log_checkpoint.c.size)).all()
    for head in heads:
        if head.size > len(rows):
            report.problems.append(f"The checkpoint of size {head.size} covers entries that are not there.")
            continue
        root = fold([nodes[node] for node in covering_nodes(0, head.size)])
        try:
            checkpoint, _ = verify_checkpoint(head.note, trusted)
        except MaestroError as error:
            report.problems.append(f"The checkpoint of size {head.size}: {error}")
            continue
        if (checkpoint.size, checkpoint.root) != (head.size, root):
            report.problems.append(f"The checkpoint of size {head.size} is not the root of its entries.")
    if rows and (not heads or heads[-1].size != len(rows)):
        report.problems.append("The newest entries have no checkpoint.")
    lost = connection.execute(
        select(log_leaf.c.leaf_id)
        .where(~select(log_entry.c.leaf_id).where(log_entry.c.leaf_id == log_leaf.c.leaf_id).exists())
        .where(~select(log_pending.c.leaf_id).where(log_pending.c.leaf_id == log_leaf.c.leaf_id).exists())
    ).all()
    if lost:
        report.problems.append(f"{len(lost)} act(s) are neither in the tree nor waiting for it.")
    if not report.problems:
        report.proved.append(f"{len(rows)} entries and {len(heads)} signed checkpoint(s) agree with each other.")
    report.not_proved.append("That nobody was shown another tree: compare a checkpoint that somebody else kept.")
    return report
