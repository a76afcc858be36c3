"""Every command teaches: an example in its help, `--json` for machines, and no noun that help does not list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from mc_pipelines.cli.main import COMMANDS, app

ROOT: Any = typer.main.get_command(app)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_EXAMPLE = re.compile(r"Example: (.+)")


def leaves() -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, by its words."""

    def below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        children = getattr(command, "commands", None)
        if not children:
            yield " ".join(words), command
        for name, child in (children or {}).items():
            yield from below(child, (*words, name))

    for noun in COMMANDS:
        yield from below(ROOT.get_command(None, noun), (noun,))


LEAVES = dict(leaves())


def options(command: Any) -> set[str]:
    return {name for each in command.params for name in (*each.opts, *each.secondary_opts)}


@pytest.mark.parametrize("words", LEAVES)
def test_a_command_teaches_by_an_example_that_it_would_take(words: str) -> None:
    command = LEAVES[words]
    examples = _EXAMPLE.findall(command.help or "")
    assert examples, f"mc {words} --help has no example"
    assert "--json" in options(command), f"mc {words} has no --json"
    own = [each for each in examples if f"mc {words}" in each]
    assert own, f"no example of mc {words} calls it: {examples}"
    for example in own:
        call = example.partition(f"mc {words}")[2]
        used = set(_OPTION.findall(re.split(r"[|>)]|\$\(", call)[0]))
        assert used <= options(command), f"{example} uses options that do not exist"


@pytest.mark.parametrize("words", LEAVES)
def test_every_option_says_what_it_is_for(words: str) -> None:
    silent = [each.name for each in LEAVES[words].params if not getattr(each, "help", None)]
    assert silent == [], f"mc {words}: {silent}"


def test_the_nouns_of_the_product_are_there() -> None:
    named = (
        "up doctor settings token db tenant people publish executions runner policy rollout sla credits showback"
        " provenance estimator keys log pack verify"
    )
    assert set(named.split()) <= set(COMMANDS)


@pytest.mark.parametrize(("typed", "offered"), [("exec", "executions"), ("executions re", "receipt")])
def test_a_shell_completes_nouns_and_verbs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, offered: str
) -> None:
    monkeypatch.setenv("_MC_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"mc {typed}")
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split())))
    monkeypatch.setattr("sys.argv", ["mc"])
    with pytest.raises(SystemExit):
        app(prog_name="mc")
    assert capsys.readouterr().out.split() == [offered]
