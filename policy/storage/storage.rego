# METADATA
# title: Writes to the object store
# description: |
#   Denies every write of a receipt, a log or an input file that is not sealed in the product's own envelope under a key
#   of that tenant, and every write of a kind that data.json does not list.
# scope: package
# organizations:
# - Maestro Conductor
# custom:
#   owner: security
#   severity: critical
#   input: see policy/storage/README.md
package storage

import rego.v1

# METADATA
# title: Whether the write may be made
# description: False unless nothing denies it.
# entrypoint: true
default allow := false

allow if {
	kind_listed
	count(deny) == 0
}

kind_listed if is_object(kind)

kind := data.storage.kinds[input.kind]

# METADATA
# title: A kind of object that is not listed
# description: What data.json does not list is not written.
# entrypoint: true
# custom:
#   rule: kind
deny contains refusal("kind", why, fix) if {
	not kind_listed
	why := sprintf("objects of kind %v are not on the list", [object.get(input, "kind", "?")])
	fix := "add the kind to policy/storage/data.json with its rule of encryption"
}

# METADATA
# title: An unencrypted write
# description: Receipts, logs and input files are written in envelope MCE1 only.
# custom:
#   rule: unencrypted
deny contains refusal("unencrypted", why, fix) if {
	kind.encrypted == true
	object.get(input, ["encryption", "envelope"], "none") != data.storage.envelope
	why := sprintf("a %v is written in envelope %v only", [input.kind, data.storage.envelope])
	fix := "write through keys.EncryptedObjectStore"
}

# METADATA
# title: No key, or another tenant's
# description: The envelope's data key is wrapped by a key that belongs to the tenant of the object.
# custom:
#   rule: key
deny contains refusal("key", why, fix) if {
	kind.encrypted == true
	not key_of_tenant
	why := sprintf("the data key is not wrapped by a key of tenant %v", [object.get(input, "tenant", "?")])
	fix := "seal the object for the tenant it belongs to"
}

key_of_tenant if {
	is_string(input.tenant)
	input.encryption.tenant == input.tenant
	count(input.encryption.key_id) > 0
}

refusal(rule, why, fix) := {"rule": rule, "why": why, "fix": fix}
