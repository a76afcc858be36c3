"""Documents keep what they promise: links lead somewhere, commands, settings and benchmarks exist."""

import re
import subprocess
from pathlib import Path

import pytest

from mc_pipelines.cli.main import COMMANDS
from mc_pipelines.foundation.settings import Settings, variable_of
from mc_pipelines_tests.cli.test_help import LEAVES

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path for path in REPOSITORY.rglob("*.md") if not {".venv", ".tools", "node_modules", ".mc"} & set(path.parts)
)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)[^)]*\)|!\[[^\]]*\]\(([^)\s]+)\)")
_CALL = re.compile(r"(?:^|[`$(|] ?)mc ([a-z][a-z ]*[a-z])", re.MULTILINE)
_MODULE = re.compile(r"python -m (benchmarks\.[a-z_]+)")
_SETTING = re.compile(r"\bMC_[A-Z_]+[A-Z]\b")
_NOT_SETTINGS = {
    "MC_SECRETS_DIR",
    "MC_DATA_DIR",
    "MC_TEST_DATABASE_URL",
    "MC_REQUIRE_ALL",
    "MC_TEST_SEED",
    "MC_GRAPH_ENGINE",
}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_document_names_only_what_there_is(document: Path) -> None:
    content = document.read_text()
    links = [first or second for first, second in _LINK.findall(content)]
    dead = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert dead == [], "links that lead nowhere"
    modules = [name for name in _MODULE.findall(content) if not (REPOSITORY / f"{name.replace('.', '/')}.py").exists()]
    assert modules == [], "benchmarks that do not exist"
    called = {" ".join(words.split()[:3]) for words in _CALL.findall(content)}
    unknown = [words for words in sorted(called) if not _is_command(words)]
    assert unknown == [], "commands that do not exist"
    assert "/work/" not in content, "a path of one machine"


def _is_command(words: str) -> bool:
    noun, _, rest = words.partition(" ")
    if noun not in COMMANDS:
        return False
    verbs = {leaf.removeprefix(f"{noun} ") for leaf in LEAVES if leaf.startswith(f"{noun} ")}
    return not verbs or not rest or any(f"{rest} ".startswith(f"{verb} ") or verb.startswith(rest) for verb in verbs)


def test_every_setting_that_a_document_names_exists() -> None:
    known = {variable_of(name) for name in Settings.model_fields} | _NOT_SETTINGS
    text = (REPOSITORY / "docs" / "reference" / "settings.md").read_text() + (REPOSITORY / "README.md").read_text()
    assert set(_SETTING.findall(text)) - known == set()


def test_the_asset_graph_picture_is_one() -> None:
    shown = subprocess.run(
        ["git", "ls-files", "docs/images"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "docs/images/asset-graph.png" in shown.stdout.split()
