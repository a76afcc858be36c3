# METADATA
# title: Access to the HTTP API
# description: |
#   Says whether a person or service may make a request. Denied unless a route of data.json matches the
#   request, one of its roles is held, and the tenant of the request is one the caller may act for.
# scope: package
# organizations:
# - Maestro Conductor
# custom:
#   owner: security
#   severity: critical
#   input: see policy/access/README.md
package access

import rego.v1

# METADATA
# title: The routes that match the request
# description: |
#   A route matches when its method is the request's and each segment of its path is equal to the
#   request's or is a parameter in braces.
matching contains route if {
	some route in data.access.routes
	route.method == input.method
	count(route.path) == count(input.path)
	every index, segment in route.path {
		segment_matches(segment, input.path[index])
	}
}

segment_matches(segment, actual) if segment == actual

segment_matches(segment, actual) if {
	startswith(segment, "{")
	is_string(actual)
	count(actual) > 0
}

# METADATA
# title: Whether the request may be made
# description: False unless a route grants it and nothing denies it.
# entrypoint: true
default allow := false

allow if {
	count(granting) > 0
	count(deny) == 0
}

granting contains route if {
	some route in matching
	role_held(route)
}

role_held(route) if "anyone" in route.roles

role_held(route) if {
	some role in input.caller.roles
	role in route.roles
}

# METADATA
# title: No such route
# description: The request matches no route of data.json.
# entrypoint: true
# custom:
#   rule: route
deny contains refusal("route", why, fix) if {
	count(matching) == 0
	why := "no route of the access policy matches the request"
	fix := "see the OpenAPI document for the routes there are"
}

# METADATA
# title: No role that grants the route
# description: The caller holds none of the roles that the route asks for.
# custom:
#   rule: role
deny contains refusal("role", why, fix) if {
	count(matching) > 0
	count(granting) == 0
	wanted := sort({role | some route in matching; some role in route.roles})
	why := sprintf("this needs one of the roles %v", [wanted])
	fix := "ask an operator for the role, or use another account"
}

# METADATA
# title: Another tenant's
# description: |
#   A route bound to a tenant is refused to callers that may not act for that tenant. Roles listed in
#   data.json as crossing tenants may act for all; a caller without tenants for none.
# custom:
#   rule: tenant
deny contains refusal("tenant", why, fix) if {
	some route in matching
	route.tenant_bound == true
	not acts_for_tenant
	why := sprintf("the caller may not act for tenant %v", [object.get(input, "tenant", "?")])
	fix := "use an account of that tenant"
}

acts_for_tenant if {
	is_string(input.tenant)
	some tenant in input.caller.tenants
	tenant == input.tenant
}

acts_for_tenant if {
	some role in input.caller.roles
	role in data.access.crossing_roles
}

refusal(rule, why, fix) := {"rule": rule, "why": why, "fix": fix}
