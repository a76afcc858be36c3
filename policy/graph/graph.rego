# METADATA
# title: Reading the provenance graph
# description: |
#   Returns which claims of a tenant's graph a caller may read. That the caller may act for the tenant at all
#   is decided by the pack access.
# scope: package
# organizations:
# - Maestro Conductor
# custom:
#   owner: security
#   severity: critical
#   input: see policy/graph/README.md
package graph

import rego.v1

# METADATA
# title: The filter
# description: The highest classification, the purposes and the verification statuses that may be read.
# entrypoint: true
visible := {
	"max_classification": max_classification,
	"purposes": purposes,
	"statuses": data.graph.statuses,
}

role_clearances contains data.graph.clearance_of_role[role] if some role in input.caller.roles

default max_classification := -1

max_classification := min({max(role_clearances), input.caller.clearance}) if {
	count(role_clearances) > 0
	is_number(input.caller.clearance)
	not aimless
}

# METADATA
# title: Another tenant's graph without a purpose
# description: Who reads across tenants reads for a purpose that one of her roles has, or reads nothing.
aimless if {
	input.caller.crossing
	count(purposes) == 0
}

# METADATA
# title: Purposes
# description: The purpose of the request, where one of the caller's roles has it.
purposes := [input.caller.purpose |
	some role in input.caller.roles
	input.caller.purpose in data.graph.purposes_of_role[role]
]
