"""The guard blocks each risky pattern, at its line, and lets our own packs through."""

import shutil
from pathlib import Path

import pytest

from mc_pipelines.decision.packs import policy_root, read_pack
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.policy.guard import check_change, check_folder

HEADER = """# METADATA
# title: Sample
# description: A sample.
# organizations:
# - Us
# custom:
#   owner: us
#   severity: high
package sample

import rego.v1

"""
META = "# METADATA\n# title: t\n# description: d\n"
FIRST = HEADER.count("\n") + 1


def findings(tmp_path: Path, body: str, *, header: str = HEADER, data: str | None = None) -> list[tuple[str, int]]:
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "sample.rego").write_text(header + body)
    if data is not None:
        (folder / "data.json").write_text(data)
    return [(found.code, found.line) for found in check_folder(folder)]


@pytest.mark.parametrize("name", ["placement", "access", "storage"])
def test_our_packs_pass(name):
    assert check_folder(policy_root() / name) == []


@pytest.mark.parametrize(
    ("body", "code", "offset"),
    [
        (META + "default allow := true\n", "MC001", 3),
        (META + "allow := true\n", "MC001", 3),
        (META + "allow if true\n", "MC001", 3),
        (META + "allow if 1 == 1\n", "MC001", 3),
        (META + 'allowed("AZURE", _) := true\n', "MC001", 3),
        (META + 'default allow := false\nallow if input.tenant == "*"\n', "MC002", 4),
        (META + 'default allow := false\nallow if input.cidr in ["0.0.0.0/0"]\n', "MC002", 4),
        (META + 'default allow := false\nallow if startswith(input.x, "")\n', "MC002", 4),
        (META + 'default allow := false\nallow if regex.match("prod", input.x)\n', "MC002", 4),
        (META + 'default allow := false\nallow if regex.match("^a|b$", input.x)\n', "MC002", 4),
        ("deny contains 1 if input.x\n", "MC004", 0),
        ("x := http.send({})\n", "MC005", 0),
        ("x := time.now_ns()\n", "MC005", 0),
        ("x := upper(input.x)\n", "MC000", 0),
        (META + "default allow := false\nallow if not input.blocked\n", "MC006", 4),
        (META + "default allow := false\nallow if safe\nsafe if not data.sample.list[input.x]\n", "MC006", 5),
        (META + 'default allow := false\nallow if not input.state == "bad"\n', "MC006", 4),
        ("x contains p if walk(input, [p, _])\n", "MC007", 0),
        ("x := numbers.range(1, input.n)\n", "MC007", 0),
        (META + "deny contains 1 if to_number(input.x) > 3\n", "MC009", 3),
        (META + "deny contains 1 if big\nbig if to_number(input.x) > 3\n", "MC009", 4),
        ("x { true }\n", "MC010", 0),
        (META + "allow if input.ok\n", "MC012", 3),
        ("x := 1 if input.a\nx := 2 if input.b\n", "MC013", 1),
    ],
)
def test_risky_patterns(tmp_path, body, code, offset):
    assert (code, FIRST + offset) in findings(tmp_path, body)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (META + 'default allow := false\nallow if object.get(input, ["a", "b"], "x") != "y"\n', "MC006"),
        (META + 'default allow := false\nallow if not object.get(input, "blocked", true)\n', "MC006"),
        (META + "deny contains 1 if not input.approved\n", "MC006"),
        (META + 'default allow := false\nallow if regex.match("^(a|b)$", input.x)\n', "MC002"),
        ("x := numbers.range(1, 10)\n", "MC007"),
        ("x := 1 if input.a\nx := 1 if input.b\n", "MC013"),
        ("x := 1 if {\n\tinput.a\n} else := 2\n", "MC013"),
        (META + "default allow := false\nallow if input.x == true\n", "MC001"),
        ("number := to_number(input.x)\n", "MC009"),
    ],
)
def test_patterns_that_are_safe(tmp_path, body, code):
    assert code not in {found for found, _ in findings(tmp_path, body)}


def test_missing_tests_and_thin_tests(tmp_path):
    assert ("MC003", 1) in findings(tmp_path, "x := 1\ny := 2 if {\n\tinput.y\n\tinput.z\n}\n")
    test = tmp_path / "sample" / "sample_test.rego"
    test.write_text("package sample_test\nimport rego.v1\nimport data.sample\ntest_x if sample.x == 1\n")
    (thin,) = check_folder(test.parent)
    assert (thin.code, thin.line) == ("MC003", FIRST + 1)
    assert "50%" in thin.message
    test.write_text(test.read_text() + 'test_y if sample.y == 3 with input as {"y": 1, "z": 1}\n')
    (failing,) = check_folder(test.parent)
    assert "data.sample_test.test_y: fail" in failing.message


def test_metadata_and_roots(tmp_path):
    found = findings(tmp_path, "x := 1\n", header="package elsewhere\nimport rego.v1\n")
    assert ("MC011", 1) in found
    assert ("MC004", 1) in found


def test_wildcards_in_data(tmp_path):
    assert ("MC002", 1) in findings(tmp_path, "x := 1\n", data='{"regions": {"AWS": ["*"]}}')


def test_old_syntax_of_the_public_sample(data_dir):
    found = check_folder(data_dir / "policy" / "packs" / "gatekeeper-v0-sample")
    assert {finding.code for finding in found} == {"MC010"}
    assert len(found) == 6
    assert str(found[0]).startswith("gatekeeper-v0-sample/src/general/allowedrepos/src.rego:3: MC010")


def test_a_removed_deny_rule_is_seen(tmp_path):
    folder = tmp_path / "placement"
    shutil.copytree(policy_root() / "placement", folder)
    old = read_pack(folder)
    assert check_change(old, old) == []
    module = folder / "placement.rego"
    text = module.read_text()
    start = text.index("# METADATA\n# title: No quota left")
    end = text.index("refusal(name, rule, why, fix) :=")
    module.write_text(text[:start] + text[end:])
    messages = [finding.message for finding in check_change(old, read_pack(folder))]
    assert "deny rule quota of the old revision is gone" in messages
    module.write_text(text + '\nallow contains "AWS/us-east-1" if input.friend\n')
    assert [finding.code for finding in check_change(old, read_pack(folder))] == ["MC008"]


def test_no_pack_at_all(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError):
            check_folder(folder)


WIDENING_MUTANTS = {
    "drop the flag": ('object.get(input, ["flags", flag], false) != true', "false"),
    "drop residency": ("count(places & promised) == 0", "false"),
    "flip drained": ('"drained", true) != false', '"drained", true) == "never"'),
    "quota of zero": ("left > 0", "left >= 0"),
    "data class upside down": ("<= rank[region.data_class]", ">= rank[region.data_class]"),
    "any region": ("not listed(entry.candidate)", "false"),
    "writable root": ('"read_only_root"], true) != false', '"read_only_root"], true) == "never"'),
    "any egress": ("not wanted in offered", "false"),
    "allow regardless": ("not entry.name in refused_names", "true"),
}


@pytest.mark.parametrize("mutant", WIDENING_MUTANTS)
def test_widening_mutants_of_the_placement_pack_are_blocked(tmp_path, mutant):
    folder = tmp_path / "placement"
    shutil.copytree(policy_root() / "placement", folder)
    module = folder / "placement.rego"
    before, after = WIDENING_MUTANTS[mutant]
    assert before in module.read_text()
    module.write_text(module.read_text().replace(before, after, 1))
    assert check_folder(folder), "the guard, by the pack's own tests, must see it"
