"""Both engines: a value, or an error; never silence."""

import json
import threading
from pathlib import Path

import httpx
import pytest

from mc_pipelines.decision.engine import UNDEFINED, check_query, open_engine, trim_error
from mc_pipelines.decision.opa_engine import OpaEngine
from mc_pipelines.decision.packs import Pack, load_pack
from mc_pipelines.decision.regorus_engine import RegorusEngine
from mc_pipelines.decision.syntax import Module
from mc_pipelines.foundation.errors import ConfigurationError, InputError, UnavailableError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.foundation.metrics import registry
from mc_pipelines.foundation.settings import Settings

SAMPLE = """package sample
import rego.v1
maybe if input.present
text := "<undefined>"
conflict := 1 if input.both
conflict := 2 if input.both
number := to_number(input.number)
answers contains answer if some answer in data.sample.numbers
"""


def sample_pack(text: str = SAMPLE, revision: str = "sha256:" + "a" * 64) -> Pack:
    return Pack("sample", Digest(revision), (Module("sample/sample.rego", text),), (), {"numbers": [2, 1, 2]}, {})


def test_values_of_regorus():
    engine = RegorusEngine(sample_pack())
    assert engine.evaluate("data.sample.answers", {}).value == [1, 2]
    assert engine.evaluate("data.sample.maybe", {"present": True}).require() is True
    assert engine.evaluate("data.sample.text", {}).value == "<undefined>", (
        "a value, though regorus also means undefined"
    )
    assert engine.evaluate("data.sample.answers", {}).elapsed_ns > 0


@pytest.mark.parametrize(
    ("query", "document", "said"),
    [
        ("data.sample.maybe", {}, UNDEFINED),
        ("data.sample.absent", {}, "not a valid rule path"),
        ("data.sample.conflict", {"both": True}, "conflict"),
        ("data.sample.number", {"number": "x"}, "could not parse"),
    ],
)
def test_errors_are_verdicts_and_the_engine_goes_on(query, document, said):
    engine = RegorusEngine(sample_pack())
    verdict = engine.evaluate(query, document)
    assert not verdict.defined
    assert verdict.value is None
    assert said in verdict.error
    assert "\n" not in verdict.error
    assert engine.evaluate("data.sample.answers", {}).value == [1, 2]
    with pytest.raises(UnavailableError, match="no decision"):
        verdict.require()


def test_a_panic_is_a_verdict():
    text = 'package sample\nimport rego.v1\nx := strings.count("", "")\ny := 1\n'
    engine = RegorusEngine(sample_pack(text, "sha256:" + "b" * 64))
    verdict = engine.evaluate("data.sample.x", {})
    assert verdict.error.startswith("the engine panicked")
    assert engine.evaluate("data.sample.y", {}).value == 1


def test_what_is_remembered_is_what_was_said_and_no_error(monkeypatch):
    engine, plain = RegorusEngine(sample_pack(), remember=2), RegorusEngine(sample_pack())
    asked = []
    evaluate = engine._evaluate
    monkeypatch.setattr(engine, "_evaluate", lambda *given: asked.append(given) or evaluate(*given))
    questions = [
        ("data.sample.answers", {}),
        ("data.sample.text", {}),
        ("data.sample.maybe", {"present": True}),
        ("data.sample.maybe", {"present": False}),
        ("data.sample.conflict", {"both": True}),
    ]
    for query, document in questions * 2:
        first, again, other = (each.evaluate(query, document) for each in (engine, engine, plain))
        assert (first.value, first.error) == (again.value, again.error) == (other.value, other.error)
    errors = [given for given in asked if "false" in given[1] or "both" in given[1]]
    assert len(errors) == 8, "an error is asked for again each time"
    assert len(asked) - len(errors) <= 6, "a value is asked for once while it is kept"
    changed = engine.evaluate("data.sample.answers", {})
    changed.value.append(3)
    assert engine.evaluate("data.sample.answers", {}).value == [1, 2]
    assert len(engine._known) <= 2


def test_each_thread_has_its_own_engine():
    engine = RegorusEngine(load_pack("storage"))
    document = {"kind": "facts"}
    answers: list[object] = []

    def work() -> None:
        answers.extend(engine.evaluate("data.storage.allow", document).value for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 200


@pytest.mark.parametrize("query", ["input", "data", "data.x == 1", "data.x; data.y", "data.a-b", "data.x[_]", ""])
def test_only_paths_are_queries(query):
    with pytest.raises(InputError, match="path of a rule"):
        check_query(query)


@pytest.mark.parametrize("document", [{"a": object()}, {"a": {1, 2}}, 2**80])
def test_input_that_is_no_json(document):
    for engine in (RegorusEngine(sample_pack()), OpaEngine("http://opa", sample_pack())):
        with pytest.raises(InputError, match="not JSON"):
            engine.evaluate("data.sample.maybe", document)


def test_production_refuses_the_embedded_engine():
    with pytest.raises(ConfigurationError, match="embedded policy engine"):
        open_engine(Settings(profile="production"), sample_pack())
    assert isinstance(open_engine(Settings(), sample_pack()), RegorusEngine)
    assert isinstance(open_engine(Settings(profile="production", opa_url="http://opa:8181"), sample_pack()), OpaEngine)
    each = open_engine(Settings(opa_url="http://opa-{pack}-{revision}:8181"), sample_pack())
    assert isinstance(each, OpaEngine)
    revision = sample_pack().revision[7:19]
    assert str(each._client.base_url) == f"http://opa-{sample_pack().name}-{revision}:8181"


def test_back_traces_are_trimmed():
    assert trim_error("\n--> a.rego:2:7\n  |\n2 | x := 1/0\n  |       ^\nerror: divide\n\nStack backtrace:\n 0: x") == (
        "--> a.rego:2:7 2 | x := 1/0 error: divide"
    )
    assert len(trim_error("x" * 9_000)) == 500


def opa(handler) -> OpaEngine:
    return OpaEngine("http://opa", sample_pack(), transport=httpx.MockTransport(handler))


def answer(status: int = 200, **document) -> httpx.Response:
    served = {"provenance": {"bundles": {"sample": {"revision": "sha256:" + "a" * 64}}}}
    return httpx.Response(status, json=served | document)


def test_opa_is_asked_strictly():
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answer(result=[1, 2])

    assert opa(handler).evaluate("data.sample.answers", {"a": 1}).value == [1, 2]
    assert seen[0].url.path == "/v1/data/sample/answers"
    assert seen[0].url.params["strict-builtin-errors"] == "true"
    assert json.loads(seen[0].content) == {"input": {"a": 1}}


def refuse_connection(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectTimeout("timed out", request=request)


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (lambda _: answer(), UNDEFINED),
        (refuse_connection, "ConnectTimeout"),
        (lambda _: httpx.Response(200, text="<html>"), "without JSON"),
        (lambda _: httpx.Response(200, json=[1]), "no object"),
        (
            lambda _: answer(
                500,
                code="internal_error",
                message="error(s) occurred",
                errors=[{"message": "strconv.ParseFloat", "location": {"file": "a.rego", "row": 7}}],
            ),
            "a.rego:7: strconv.ParseFloat",
        ),
        (lambda _: httpx.Response(200, json={"result": True}), "serves revision none"),
        (
            lambda _: answer(result=True, provenance={"bundles": {"x": {"revision": "sha256:old"}}}),
            "serves revision sha256:old",
        ),
    ],
)
def test_everything_else_of_opa_is_an_error(handler, said):
    verdict = opa(handler).evaluate("data.sample.maybe", {})
    assert not verdict.defined
    assert said in verdict.error


def test_packs_are_found_from_anywhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load_pack("placement").name == "placement"
    assert Path.cwd() == tmp_path


def test_each_verdict_is_in_the_histogram():
    engine = RegorusEngine(load_pack("storage"))

    def count(outcome: str) -> float:
        labels = {"pack": "storage", "outcome": outcome}
        return registry.get_sample_value("mc_policy_evaluation_seconds_count", labels) or 0.0

    values, errors = count("value"), count("error")
    engine.evaluate("data.storage.allow", {})
    engine.evaluate("data.storage.absent", {})
    assert (count("value") - values, count("error") - errors) == (1, 1)
