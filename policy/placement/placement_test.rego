package placement_test

import rego.v1

import data.placement

capable := {"read_only_root": true, "egress": ["open", "none", "ip", "fqdn"]}

candidate(cloud, region) := {
	"cloud": cloud,
	"region": region,
	"capabilities": capable,
	"drained": false,
	"quota_left": 10,
}

eastus := candidate("AZURE", "eastus")

virginia := candidate("AWS", "us-east-1")

frankfurt := candidate("GCP", "europe-west3")

request := {
	"tenant": "acme",
	"data_class": "confidential",
	"residency": ["us"],
	"needs": {"read_only_root": true, "egress": "ip"},
	"candidates": [eastus, virginia],
	"flags": {"runner_azure_preview": true},
}

with_candidate(one) := object.union(request, {"candidates": [one]})

rules(denials) := {denial.rule | some denial in denials}

test_both_allowed if {
	placement.allow == {"AZURE/eastus", "AWS/us-east-1"} with input as request
	placement.deny == set() with input as request
}

test_region_not_listed if {
	found := placement.deny with input as with_candidate(candidate("AZURE", "westeurope"))
	rules(found) == {"region"}
	some denial in found
	contains(denial.why, "westeurope")
	contains(denial.fix, "AZURE/eastus")
}

test_cloud_not_listed if {
	rules(placement.deny) == {"region"} with input as with_candidate(candidate("OTHER", "eastus"))
}

test_azure_flag_off if {
	off := object.union(request, {"flags": {"runner_azure_preview": false}})
	placement.allow == {"AWS/us-east-1"} with input as off
	rules(placement.deny) == {"cloud_flag"} with input as off
}

test_azure_flag_absent_is_off if {
	unset := json.patch(request, [{"op": "remove", "path": "/flags/runner_azure_preview"}])
	rules(placement.deny) == {"cloud_flag"} with input as unset
}

test_residency if {
	rules(placement.deny) == {"residency"} with input as with_candidate(frankfurt)
	placement.deny == set() with input as object.union(with_candidate(frankfurt), {"residency": ["de"]})
	placement.deny == set() with input as object.union(with_candidate(frankfurt), {"residency": ["GCP/europe-west3"]})
}

test_empty_residency_allows_nothing if {
	rules(placement.deny) == {"residency"} with input as object.union(request, {"residency": []})
	placement.allow == set() with input as object.union(request, {"residency": []})
}

test_data_class if {
	restricted := object.union(request, {"data_class": "restricted"})
	placement.allow == {"AWS/us-east-1"} with input as restricted
	rules(placement.deny) == {"data_class"} with input as restricted
}

test_unknown_data_class_is_cleared_nowhere if {
	placement.allow == set() with input as object.union(request, {"data_class": "secretest"})
}

test_read_only_root if {
	weak := json.patch(virginia, [{"op": "replace", "path": "/capabilities/read_only_root", "value": false}])
	rules(placement.deny) == {"read_only_root"} with input as with_candidate(weak)
	relaxed := object.union(with_candidate(weak), {"needs": {"read_only_root": false}})
	placement.deny == set() with input as relaxed
}

test_read_only_root_is_needed_unless_waived if {
	weak := json.patch(virginia, [{"op": "replace", "path": "/capabilities/read_only_root", "value": false}])
	unsaid := json.patch(with_candidate(weak), [{"op": "remove", "path": "/needs/read_only_root"}])
	rules(placement.deny) == {"read_only_root"} with input as unsaid
}

test_egress if {
	coarse := json.patch(virginia, [{"op": "replace", "path": "/capabilities/egress", "value": ["open", "none"]}])
	rules(placement.deny) == {"egress"} with input as with_candidate(coarse)
	placement.deny == set() with input as object.union(with_candidate(coarse), {"needs": {"egress": "none"}})
}

test_drained if {
	rules(placement.deny) == {"drained"} with input as with_candidate(object.union(virginia, {"drained": true}))
}

test_quota if {
	rules(placement.deny) == {"quota"} with input as with_candidate(object.union(virginia, {"quota_left": 0}))
	rules(placement.deny) == {"quota"} with input as with_candidate(object.union(virginia, {"quota_left": "many"}))
}

test_input_without_a_member_allows_nothing if {
	some field in (placement.required_input - {"candidates"})
	lacking := object.remove(request, [field])
	placement.allow == set() with input as lacking
}

test_every_member_of_the_input_is_required if {
	every field in placement.required_input - {"candidates"} {
		lacking := object.remove(request, [field])
		placement.allow == set() with input as lacking
		"input" in rules(placement.deny) with input as lacking
	}
}

test_every_member_of_a_candidate_is_required if {
	every field in placement.required_candidate {
		lacking := with_candidate(object.remove(virginia, [field]))
		placement.allow == set() with input as lacking
		"input" in rules(placement.deny) with input as lacking
	}
}

test_no_candidates_is_said if {
	found := placement.deny with input as object.remove(request, ["candidates"])
	{denial.candidate | some denial in found} == {"*"}
}

test_every_denial_explains_itself if {
	empty := placement.deny with input as {}
	some_denied := placement.deny with input as with_candidate(candidate("AZURE", "nowhere"))
	every denial in empty | some_denied {
		object.keys(denial) == {"candidate", "rule", "why", "fix"}
		every text in denial {
			count(text) > 0
		}
	}
}
