"""What tables show of the values that they are given."""

from __future__ import annotations

from datetime import UTC, datetime

from mc_pipelines.cli.output import print_table


def test_a_table_shows_times_to_the_second_in_utc_and_nothing_for_none(capsys):
    print_table(("at", "due"), [(datetime(2026, 11, 27, 14, 21, 4, 331034, tzinfo=UTC), None)])
    shown = capsys.readouterr().out
    assert "2026-11-27T14:21:04Z" in shown
    assert "331034" not in shown
    assert "None" not in shown
