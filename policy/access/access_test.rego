package access_test

import rego.v1

import data.access

# The operations of data.json change as the API grows; the rules are tested on these.
operations := {
	"POST /things": {"roles": ["finance-maker"], "tenant_bound": true},
	"GET /things": {"roles": ["auditor", "tenant-reader"], "tenant_bound": true},
	"GET /things/{thing}": {"roles": ["auditor", "tenant-reader"], "tenant_bound": true},
	"POST /switch": {"roles": ["operator", "security"], "tenant_bound": false},
	"GET /open": {"roles": ["anyone"], "tenant_bound": false},
	"GET /careless": {"roles": ["tenant-reader"]},
}

request(operation, roles) := {
	"operation": operation,
	"tenant": "acme",
	"caller": {"subject": "ada", "roles": roles, "tenants": ["acme"]},
}

rules(denials) := {denial.rule | some denial in denials}

test_role_grants if {
	maker := request("POST /things", ["finance-maker"])
	access.allow with input as maker with data.access.operations as operations
	access.deny == set() with input as maker with data.access.operations as operations
	access.decision == {"allow": true, "deny": set()} with input as maker with data.access.operations as operations
}

test_wrong_role_is_denied if {
	reader := request("POST /things", ["tenant-reader"])
	not access.allow with input as reader with data.access.operations as operations
	rules(access.deny) == {"role"} with input as reader with data.access.operations as operations
}

test_reader_reads_own_tenant if {
	access.allow with input as request("GET /things", ["tenant-reader"]) with data.access.operations as operations
}

test_reader_reads_no_other_tenant if {
	other := object.union(request("GET /things", ["tenant-reader"]), {"tenant": "globex"})
	not access.allow with input as other with data.access.operations as operations
	rules(access.deny) == {"tenant"} with input as other with data.access.operations as operations
}

test_absent_tenant_is_nobodys if {
	lacking := object.remove(request("GET /things", ["tenant-reader"]), ["tenant"])
	not access.allow with input as lacking with data.access.operations as operations
	rules(access.deny) == {"tenant"} with input as lacking with data.access.operations as operations
}

test_null_tenant_is_nobodys if {
	nobody := object.union(
		request("GET /things", ["tenant-reader"]),
		{"tenant": null, "caller": {"tenants": [null]}},
	)
	not access.allow with input as nobody with data.access.operations as operations
}

test_auditor_crosses_tenants if {
	other := object.union(request("GET /things", ["auditor"]), {"tenant": "globex"})
	access.allow with input as other with data.access.operations as operations
}

test_auditor_changes_nothing if {
	not access.allow with input as request("POST /switch", ["auditor"]) with data.access.operations as operations
}

test_value_is_not_its_template if {
	access.allow with input as request("GET /things/{thing}", ["auditor"]) with data.access.operations as operations
	not access.allow with input as request("GET /things/42", ["auditor"]) with data.access.operations as operations
}

test_unknown_operation if {
	nowhere := request("DELETE /things", ["operator"])
	not access.allow with input as nowhere with data.access.operations as operations
	rules(access.deny) == {"operation"} with input as nowhere with data.access.operations as operations
}

test_operation_is_bound_unless_it_says_otherwise if {
	other := object.union(request("GET /careless", ["tenant-reader"]), {"tenant": "globex"})
	not access.allow with input as other with data.access.operations as operations
	access.door.tenant_bound == true with input as other with data.access.operations as operations
}

test_anyone_comes_in if {
	nobody := {"operation": "GET /open", "tenant": null, "caller": {"roles": [], "tenants": []}}
	access.allow with input as nobody with data.access.operations as operations
	access.door == {"open": true, "tenant_bound": false, "deny": []} with input as nobody
		with data.access.operations as operations
}

test_door_does_not_ask_for_the_tenant if {
	reader := {"operation": "GET /things", "tenant": null, "caller": {"roles": ["tenant-reader"], "tenants": []}}
	access.door == {"open": true, "tenant_bound": true, "deny": []} with input as reader
		with data.access.operations as operations
}

test_door_is_shut_to_the_wrong_role if {
	maker := request("GET /things", ["finance-maker"])
	access.door.open == false with input as maker with data.access.operations as operations
	rules(access.door.deny) == {"role"} with input as maker with data.access.operations as operations
}

test_empty_input_is_denied if {
	not access.allow with input as {}
	rules(access.deny) == {"operation"} with input as {}
	access.door.open == false with input as {}
}

test_anonymous_is_denied if {
	not access.allow with input as {"operation": "POST /things"} with data.access.operations as operations
}

test_no_operation_is_open_that_changes_anything if {
	changing := {name |
		some name, operation in data.access.operations
		"anyone" in operation.roles
		not startswith(name, "GET ")
	}
	changing == set()
}
