"""What a policy engine is: a query and an input in, a verdict out.

A verdict is one of three things: a value, or an error. An *undefined* answer counts as an error, as does
a rule that does not exist, an engine that panics and a server that does not answer: whoever asks must be
unable to take "the policy said nothing" for "the policy allowed it".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mc_pipelines.foundation.errors import ConfigurationError, InputError, UnavailableError
from mc_pipelines.foundation.settings import Profile, Settings

if TYPE_CHECKING:
    from mc_pipelines.decision.packs import Pack

UNDEFINED = "undefined_decision"
_QUERY = re.compile(r"data(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
_MAXIMUM_ERROR = 500
_SHORT_REVISION = 12


@dataclass(frozen=True)
class Verdict:
    """The answer of an engine to one query.

    Attributes:
        value: what the rule evaluated to; None when ``error`` is set.
        error: why there is no value, in one line; None when there is one.
        elapsed_ns: nanoseconds the evaluation took, as the caller of the engine saw it.
    """

    value: Any
    error: str | None = None
    elapsed_ns: int = 0

    @property
    def defined(self) -> bool:
        """Whether the policy gave a value."""
        return self.error is None

    def require(self) -> Any:
        """Return the value.

        Raises:
            UnavailableError: the policy gave none, so nothing may be done on its behalf.
        """
        if self.error is not None:
            raise UnavailableError(
                f"The policy gave no decision: {self.error}",
                mend="`mc policy check` and `mc policy test` say what is wrong with the pack",
            )
        return self.value


class PolicyEngine(Protocol):
    """Evaluates the rules of one pack."""

    name: str
    """Name and version of the engine, for the decision log."""

    def evaluate(self, query: str, input_document: Any) -> Verdict:
        """Evaluate a rule.

        Args:
            query: the full path of a rule, such as ``data.placement.deny``.
            input_document: any JSON value.

        Raises:
            InputError: ``query`` is no such path, or the input is no JSON. Nothing else is raised.
        """
        ...


def check_query(query: str) -> str:
    """Return ``query`` if it is the path of a rule.

    Engines compile each distinct query anew (95 ms in an OPA server with 10,000 data entries), so only
    fixed paths are taken, never expressions.

    Raises:
        InputError: it is an expression or malformed.
    """
    if not _QUERY.fullmatch(query):
        raise InputError("Not the path of a rule", field="query", value=query, mend="write data.<package>.<rule>")
    return query


def trim_error(text: object) -> str:
    """Return an engine's error as one line without the back trace that RUST_BACKTRACE=1 adds."""
    lines = str(text).split("Stack backtrace", 1)[0].splitlines()
    line = " ".join(part.strip() for part in lines if part.strip() and set(part.strip()) - set("|^ "))
    return line if len(line) <= _MAXIMUM_ERROR else line[: _MAXIMUM_ERROR - 1] + "…"


def open_engine(settings: Settings, pack: Pack, *, remember: int = 0) -> PolicyEngine:
    """Return the engine that the settings ask for: an OPA server where MC_OPA_URL is set, else regorus.

    One OPA server holds one revision of a pack, so while a rollout runs there are two of them: ``{revision}`` in
    MC_OPA_URL stands for the first twelve digits of the revision that is asked for, ``{pack}`` for the pack.

    Args:
        settings: name the server.
        pack: what is evaluated.
        remember: how many values an engine in this process may keep, for packs that are asked the same again and again;
            a server may take another revision at any time, so nothing of it is kept.

    Raises:
        ConfigurationError: the production profile without MC_OPA_URL.
    """
    if settings.opa_url is not None:
        from mc_pipelines.decision.opa_engine import OpaEngine

        revision = pack.revision.removeprefix("sha256:")[:_SHORT_REVISION]
        return OpaEngine(settings.opa_url.replace("{revision}", revision).replace("{pack}", pack.name), pack)
    if settings.profile is Profile.PRODUCTION:
        raise ConfigurationError(
            "The production profile takes no embedded policy engine",
            field="MC_OPA_URL",
            mend="set it to an OPA server (1.21.3 or newer) that pulls our bundles",
        )
    from mc_pipelines.decision.regorus_engine import RegorusEngine

    return RegorusEngine(pack, remember=remember)
