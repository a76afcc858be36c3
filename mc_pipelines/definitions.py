"""The one Dagster entry point: loads the defs folder."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """All definitions under ``mc_pipelines/defs``."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
