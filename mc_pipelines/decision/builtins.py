"""Which Rego builtins a pack may call: those on which both engines agree, and why not the others.

How the set was derived (the conformance tests hold it to that):

1. take the builtins that regorus lists for itself (``opa.runtime().builtins``, 124 names);
2. leave out what reads the outside world or is not a function of its input (:data:`IMPURE`);
3. leave out what gave another value than OPA without an error, in OPA's own compliance cases or in
   our vectors run on a real OPA 1.22 (:data:`DISAGREEING`);
4. keep what at least one compliance case proves (:data:`PROVEN_BY_CASES`), or what our vectors prove
   (:data:`PROVEN_BY_VECTORS`); leave out the rest as unproven.

``sprintf``, ``glob.match`` and ``regex.*`` agree on a part of what they take only;
:mod:`mc_pipelines.decision.portability` holds calls to that part. Arithmetic on fractions differs in the last
digit (OPA computes in decimal): compare money and shares as integers.
"""

from __future__ import annotations

from types import MappingProxyType

_LISTS = "array.concat array.reverse array.slice"
_ENCODINGS = "base64.decode base64.encode base64.is_valid base64url.encode base64url.encode_no_pad hex.encode"
_BITS = "bits.and bits.lsh bits.negate bits.or bits.rsh bits.xor"
_NUMBERS = (
    "abs ceil count floor format_int max min numbers.range numbers.range_step product round sort sum to_number"
    " units.parse units.parse_bytes"
)
_TYPES = "is_array is_boolean is_null is_number is_object is_set is_string type_name"
_SETS = "intersection union"
_OBJECTS = (
    "json.patch object.filter object.get object.keys object.remove object.subset object.union object.union_n walk"
)
_STRINGS = (
    "concat contains indexof indexof_n replace split sprintf startswith strings.any_prefix_match"
    " strings.any_suffix_match strings.reverse substring trim trim_prefix trim_space trim_suffix"
)
_PATTERNS = "glob.match regex.find_n regex.match regex.replace"
_NETWORK = "net.cidr_expand net.cidr_is_valid"
_TIMES = "time.clock time.date time.weekday"

_CASES = (
    _LISTS,
    _ENCODINGS,
    _BITS,
    _NUMBERS,
    _TYPES,
    _SETS,
    _OBJECTS,
    _STRINGS,
    _PATTERNS,
    _NETWORK,
    _TIMES,
)
PROVEN_BY_CASES = frozenset(name for names in _CASES for name in names.split())
"""At least one case of OPA's compliance suite calls it, and regorus gave OPA's answer in all of them."""

PROVEN_BY_VECTORS = frozenset({"endswith", "hex.decode", "time.parse_rfc3339_ns", "trim_left", "trim_right"})
"""No case calls it; mc_pipelines_tests/conformance/policy/builtin_vectors.json holds vectors, run on both engines."""

AGREED = PROVEN_BY_CASES | PROVEN_BY_VECTORS
"""What a pack may call."""

IMPURE = MappingProxyType(
    {
        "http.send": "calls out to the network; regorus lists it and silently yields undefined",
        "net.lookup_ip_addr": "asks the resolver",
        "opa.runtime": "reads the server's environment",
        "rand.intn": "is random, so a decision could not be replayed",
        "uuid.rfc4122": "is random, so a decision could not be replayed",
        "time.now_ns": "reads the wall clock, so a decision could not be replayed; take the time from input",
        "trace": "writes to the engine's log",
        "print": "writes to the engine's log",
        "rego.parse_module": "runs a parser over input",
    }
)
"""Builtins that are never allowed: forbidden in either engine."""

DISAGREEING = MappingProxyType(
    {
        "graph.reachable_paths": "regorus gives other paths than OPA on cyclic graphs",
        "strings.count": "regorus counts overlapping occurrences, OPA does not, and an empty string panics regorus",
        "glob.quote_meta": "regorus leaves ?, [ and { unquoted",
        "json.filter": "regorus matches nothing where a path begins with a slash",
        "json.remove": "regorus removes nothing where a path begins with a slash; use json.patch",
        "net.cidr_contains": "regorus does not see an IPv4 address in its IPv6-mapped form (::ffff:10.0.0.1)",
        "regex.split": "regorus yields empty parts where OPA does not",
        "semver.compare": "the engines take different strings for versions (a leading v)",
        "semver.is_valid": "the engines take different strings for versions (a leading v)",
        "strings.replace_n": "regorus replaces again in what it has replaced",
        "lower": "the engines map case differently outside ASCII (U+0130): compare with regex classes instead",
        "upper": "the engines map case differently outside ASCII (U+00DF): compare with regex classes instead",
    }
)
"""Builtins for which the two engines gave different values in a case or a vector."""


def why_refused(name: str) -> str | None:
    """Return why a pack may not call a builtin, or None if it may."""
    if name in AGREED:
        return None
    if name in IMPURE:
        return IMPURE[name]
    if name in DISAGREEING:
        return DISAGREEING[name]
    return "is not proven to give the same answer on both engines"
