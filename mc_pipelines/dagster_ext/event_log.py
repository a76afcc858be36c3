"""Writes down the materialisations of any Dagster instance, for `mc provenance watch-dagster`.

    DAGSTER_HOME=/srv/dagster python -m mc_pipelines.dagster_ext.event_log --issuer dagster/prod --poll 5 <<< '{}'

Standard input holds the positions from which to go on, as the last ``positions`` line of an earlier run gave them.
Standard output gets one JSON object a line: a materialisation each, and after every batch ``{"positions": …}``, which
holds once everything before it was recorded. Without ``--poll`` it ends when there is no more.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from mc_pipelines.provenance.readers.dagster_event import EVENT_TYPE

BATCH = 500
_INPUT_VERSION = "dagster/input_data_version/"
_INPUT_EVENT = "dagster/input_event_pointer/"
_DATA_VERSION = "dagster/data_version"
_CODE_VERSION = "dagster/code_version"
_NO_EVENT = "NULL"


def new_materializations(
    instance: dg.DagsterInstance, issuer: str, positions: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """Yield what was materialised after ``positions``, oldest first per asset, and move them along.

    Args:
        instance: the instance to look at; it is only read.
        issuer: what to call it; ids of runs and assets begin with it.
        positions: asset key to the cursor of its last event that was yielded.
    """
    for name, key in sorted({key.to_user_string(): key for key in instance.get_asset_keys()}.items()):
        while True:
            found = instance.fetch_materializations(key, BATCH, cursor=positions.get(name), ascending=True)
            for record in found.records:
                yield document(record, issuer)
            if found.records:
                positions[name] = found.cursor
            if not found.has_more or not found.records:
                break


def document(record: dg.EventLogRecord, issuer: str) -> dict[str, Any]:
    """Return a materialisation as the document that our reader reads."""
    materialization = record.asset_materialization
    if materialization is None:
        message = f"event {record.storage_id} is no materialisation"
        raise ValueError(message)
    entry = record.event_log_entry
    tags = materialization.tags or {}
    moment = datetime.fromtimestamp(record.timestamp, UTC)
    return {
        "dagsterEvent": EVENT_TYPE,
        "issuer": issuer,
        "asset": materialization.asset_key.to_user_string(),
        "event": record.storage_id,
        "runId": entry.run_id,
        "stepKey": entry.step_key,
        "job": entry.job_name,
        "partition": materialization.partition,
        "timestamp": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "codeVersion": tags.get(_CODE_VERSION),
        "dataVersion": tags.get(_DATA_VERSION),
        "inputs": _inputs(tags),
    }


def _inputs(tags: Any) -> list[dict[str, Any]]:
    names = {
        tag.removeprefix(prefix) for prefix in (_INPUT_VERSION, _INPUT_EVENT) for tag in tags if tag.startswith(prefix)
    }
    found = []
    for name in sorted(names):
        event = tags.get(_INPUT_EVENT + name)
        found.append(
            {
                "asset": name,
                "dataVersion": tags.get(_INPUT_VERSION + name),
                "event": int(event) if event and event != _NO_EVENT else None,
            }
        )
    return found


def main(arguments: list[str]) -> int:
    """Write down what is new, once or until standard output is closed; return the exit code."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description="Writes down the materialisations of a Dagster instance.")
    parser.add_argument("--issuer", required=True, help="what to call the instance")
    parser.add_argument("--poll", type=float, help="seconds between looks; default: one look")
    options = parser.parse_args(arguments)
    positions: dict[str, str] = json.loads(sys.stdin.read() or "{}")
    with dg.DagsterInstance.get() as instance:
        while True:
            before = dict(positions)
            for each in new_materializations(instance, options.issuer, positions):
                _say(each)
            if positions != before or options.poll is None:
                _say({"positions": positions})
            if options.poll is None:
                return 0
            sys.stdout.flush()
            time.sleep(options.poll)


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(0)
