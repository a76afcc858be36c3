package graph_test

import rego.v1

import data.graph

caller(roles, clearance, purpose) := {
	"tenant": "acme",
	"caller": {"roles": roles, "clearance": clearance, "purpose": purpose},
}

test_clearance_is_capped_by_role if {
	graph.visible.max_classification == 1 with input as caller(["finance-maker"], 3, "finance")
	graph.visible.max_classification == 3 with input as caller(["finance-maker", "auditor"], 3, "audit")
}

test_clearance_is_capped_by_the_caller if {
	graph.visible.max_classification == 0 with input as caller(["auditor"], 0, "audit")
}

test_nobody_reads_nothing if {
	graph.visible.max_classification == -1 with input as caller([], 3, "audit")
	graph.visible.max_classification == -1 with input as caller(["stranger"], 3, "audit")
	graph.visible.purposes == [] with input as caller(["stranger"], 3, "audit")
}

test_a_purpose_that_no_role_has_is_left_out if {
	graph.visible.purposes == [] with input as caller(["finance-maker"], 1, "audit")
	graph.visible.purposes == ["audit"] with input as caller(["auditor"], 1, "audit")
}

test_across_tenants_needs_a_purpose_of_a_role if {
	crossing := caller(["operator"], 3, "security")
	graph.visible.max_classification == 2 with input as object.union(crossing, {"caller": {"crossing": true}})
	aimless := caller(["operator"], 3, "finance")
	graph.visible.max_classification == -1 with input as object.union(aimless, {"caller": {"crossing": true}})
	graph.visible.max_classification == 2 with input as aimless
}
