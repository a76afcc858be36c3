package access_test

import rego.v1

import data.access

request(method, path, roles) := {
	"method": method,
	"path": path,
	"tenant": "acme",
	"caller": {"subject": "ada", "roles": roles, "tenants": ["acme"]},
}

rules(denials) := {denial.rule | some denial in denials}

credits := ["api", "credits"]

test_finance_maker_drafts_a_credit if {
	access.allow with input as request("POST", credits, ["finance-maker"])
	access.deny == set() with input as request("POST", credits, ["finance-maker"])
}

test_reader_drafts_no_credit if {
	reader := request("POST", credits, ["tenant-reader"])
	not access.allow with input as reader
	rules(access.deny) == {"role"} with input as reader
}

test_reader_reads_own_tenant if {
	access.allow with input as request("GET", ["api", "provenance", "graph"], ["tenant-reader"])
}

test_reader_reads_no_other_tenant if {
	other := object.union(request("GET", credits, ["tenant-reader"]), {"tenant": "globex"})
	not access.allow with input as other
	rules(access.deny) == {"tenant"} with input as other
}

test_absent_tenant_is_nobodys if {
	lacking := object.remove(request("GET", credits, ["tenant-reader"]), ["tenant"])
	not access.allow with input as lacking
	rules(access.deny) == {"tenant"} with input as lacking
}

test_null_tenant_is_nobodys if {
	nobody := object.union(request("GET", credits, ["tenant-reader"]), {"tenant": null, "caller": {"tenants": [null]}})
	not access.allow with input as nobody
}

test_auditor_crosses_tenants if {
	access.allow with input as object.union(request("GET", credits, ["auditor"]), {"tenant": "globex"})
}

test_auditor_changes_nothing if {
	not access.allow with input as request("POST", ["api", "policy", "rollout"], ["auditor"])
}

test_parameter_matches_one_segment if {
	access.allow with input as request("GET", ["api", "credits", "42"], ["auditor"])
	not access.allow with input as request("GET", ["api", "credits", ""], ["auditor"])
	not access.allow with input as request("GET", ["api", "credits", "42", "x"], ["auditor"])
}

test_unknown_route if {
	nowhere := request("DELETE", credits, ["operator"])
	not access.allow with input as nowhere
	rules(access.deny) == {"route"} with input as nowhere
}

test_anyone_sees_health if {
	access.allow with input as {"method": "GET", "path": ["health"], "tenant": null, "caller": {"roles": [], "tenants": []}}
}

test_empty_input_is_denied if {
	not access.allow with input as {}
	rules(access.deny) == {"route"} with input as {}
}

test_anonymous_is_denied if {
	not access.allow with input as {"method": "POST", "path": credits}
}
