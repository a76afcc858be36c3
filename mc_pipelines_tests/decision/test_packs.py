"""Loading: what is taken, what is refused by name, and what a revision is made of."""

import json
import shutil
from pathlib import Path

import pytest

from mc_pipelines.decision.builtins import AGREED, DISAGREEING, IMPURE
from mc_pipelines.decision.packs import PackRefusedError, list_packs, load_pack, policy_root, read_pack, read_pack_files
from mc_pipelines.decision.rego_test import run_pack_tests
from mc_pipelines.decision.syntax import RegoSyntaxError
from mc_pipelines.foundation.errors import InputError, NotFoundError


def write_pack(folder: Path, text: str, data: str | None = None, name: str = "sample") -> Path:
    pack = folder / name
    pack.mkdir(exist_ok=True)
    (pack / f"{name}.rego").write_text(text)
    if data is not None:
        (pack / "data.json").write_text(data)
    return pack


def test_our_packs_load_and_their_tests_cover_every_line():
    assert set(list_packs()) >= {"placement", "access", "storage"}
    for name in list_packs():
        pack = load_pack(name)
        report = run_pack_tests(pack)
        assert report.ok, [result for result in report.results if result.outcome != "pass"]
        assert report.coverage == 1.0, report.uncovered
        assert pack.metadata["custom"]["owner"]


def test_revision_is_of_what_decides(tmp_path):
    folder = tmp_path / "placement"
    shutil.copytree(policy_root() / "placement", folder)
    original = read_pack(folder).revision
    assert original == load_pack("placement").revision
    (folder / "placement_test.rego").write_text("package placement_test\n")
    (folder / "README.md").unlink()
    data = json.loads((folder / "data.json").read_text())
    (folder / "data.json").write_text(json.dumps(data, indent=7, sort_keys=True))
    assert read_pack(folder).revision == original, "tests, prose and white space of data decide nothing"
    data["regions"]["AZURE"]["westus"] = {"geographies": ["us"], "data_class": "public"}
    (folder / "data.json").write_text(json.dumps(data))
    assert read_pack(folder).revision != original


@pytest.mark.parametrize(
    ("body", "line", "name"),
    [
        ('x := http.send({"method": "get", "url": "https://x"})', 3, "http.send"),
        ("x := opa.runtime()", 3, "opa.runtime"),
        ("x := time.now_ns()", 3, "time.now_ns"),
        ('x := rand.intn("a", 5)', 3, "rand.intn"),
        ("\nx if {\n\tfalse\n\tio.jwt.decode(input.token)\n}", 6, "io.jwt.decode"),
        ('x := [y | y := net.cidr_merge(["10.0.0.0/8"])]', 3, "net.cidr_merge"),
        ("f(y) := upper(y)", 3, "upper"),
        ("default x := false\nx if no_such_function(1)", 4, "no_such_function"),
        ("x if { every y in input.z { crypto.md5(y) == input.a } }", 3, "crypto.md5"),
        ('x := regex.match("^\\\\d+$", input.y)', 3, "regex.match"),
        ("x := regex.match(input.pattern, input.y)", 3, "regex.match"),
        ('x := regex.match(`(?i)abc`, "ABC")', 3, "regex.match"),
        ('x := glob.match("a?c", [], input.y)', 3, "glob.match"),
        ('x := sprintf("%q", ["a"])', 3, "sprintf"),
        ('x := sprintf("%v %v", ["a"])', 3, "sprintf"),
        ("x := sprintf(input.format, [1])", 3, "sprintf"),
        ('p[q].r contains s if { q := "a"; s := "b" }', 3, "p"),
        ("f(y) := y\nx if f(1) with count as 3", 4, "count"),
    ],
)
def test_refused_by_name_and_line(tmp_path, body, line, name):
    folder = write_pack(tmp_path, f"package sample\nimport rego.v1\n{body}\n")
    with pytest.raises(PackRefusedError) as caught:
        read_pack(folder)
    assert caught.value.extensions["refusals"][0].startswith(f"sample/sample.rego:{line}: {name} ")


def test_own_functions_imports_and_escaped_classes_are_no_builtins(tmp_path):
    folder = write_pack(
        tmp_path,
        'package sample\nimport rego.v1\nimport data.sample.lib as l\nupper(x) := x\na := upper("x")\n'
        'b := l.g(1)\nc := data.sample.lib.g(2)\nd := regex.match("^a\\\\\\\\d$", input.x)\n',
    )
    (folder / "lib.rego").write_text("package sample.lib\nimport rego.v1\ng(x) := x\n")
    assert read_pack(folder).name == "sample"


def test_old_syntax_is_refused_with_file_and_line(tmp_path):
    folder = write_pack(tmp_path, 'package sample\n\nallowed("AZURE", r) { r == "eastus" }\n')
    with pytest.raises(RegoSyntaxError, match=r"^sample/sample\.rego:3: not Rego v1") as caught:
        read_pack(folder)
    assert caught.value.extensions["line"] == 3
    assert "Stack backtrace" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [("[1]", "no object"), ('{"a": 1, "a": 2}', "duplicate key"), ("{", "not valid JSON"), ('{"a": NaN}', "NaN")],
)
def test_bad_data_is_refused(tmp_path, data, sentence):
    folder = write_pack(tmp_path, "package sample\nimport rego.v1\nx := 1\n", data)
    with pytest.raises(InputError, match=sentence):
        read_pack(folder)


def test_no_such_pack_and_no_way_out_of_the_folder():
    for name in ("nothing", "../policy", "Placement", ""):
        with pytest.raises(NotFoundError):
            load_pack(name)


def test_empty_folder_is_no_pack(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pack"):
        read_pack(tmp_path / "empty")


def test_configured_folder_wins(tmp_path):
    write_pack(tmp_path, "package sample\nimport rego.v1\nx := 1\n")
    assert list_packs(policy_root(tmp_path)) == ("sample",)
    with pytest.raises(NotFoundError):
        policy_root(tmp_path / "absent")


def test_the_three_lists_of_builtins_are_disjoint():
    assert not AGREED & set(IMPURE)
    assert not AGREED & set(DISAGREEING)


def test_brackets_nested_without_end_are_refused_before_a_parser_sees_them():
    text = f"package placement\n\nx := {'[' * 2000}{']' * 2000}\n"
    with pytest.raises(InputError, match="nests its brackets"):
        read_pack_files("placement", {"placement/placement.rego": text.encode()})
