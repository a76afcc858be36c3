package storage_test

import rego.v1

import data.storage

sealed := {
	"kind": "receipt",
	"tenant": "acme",
	"encryption": {"envelope": "MCE1", "key_id": "k1", "tenant": "acme"},
}

rules(denials) := {denial.rule | some denial in denials}

test_sealed_receipt if {
	storage.allow with input as sealed
	storage.deny == set() with input as sealed
}

test_plain_receipt_and_log if {
	every kind in ["receipt", "log", "input"] {
		plain := {"kind": kind, "tenant": "acme"}
		not storage.allow with input as plain
		rules(storage.deny) == {"unencrypted", "key"} with input as plain
	}
}

test_other_envelope if {
	rules(storage.deny) == {"unencrypted"} with input as object.union(sealed, {"encryption": {"envelope": "PGP"}})
}

test_key_of_another_tenant if {
	foreign := object.union(sealed, {"encryption": {"tenant": "globex"}})
	not storage.allow with input as foreign
	rules(storage.deny) == {"key"} with input as foreign
}

test_empty_key if {
	rules(storage.deny) == {"key"} with input as object.union(sealed, {"encryption": {"key_id": ""}})
}

test_facts_are_plain if {
	storage.allow with input as {"kind": "facts"}
}

test_unlisted_kind if {
	not storage.allow with input as {"kind": "dump"}
	rules(storage.deny) == {"kind"} with input as {"kind": "dump"}
	not storage.allow with input as {}
}
