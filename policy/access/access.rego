# METADATA
# title: Access to the HTTP API
# description: |
#   Says whether a person or service may make a request. Denied unless the operation is one of
#   data.json, one of its roles is held, and the tenant of the request is one the caller may act for.
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
# title: The operation that is asked for
# description: |
#   An operation is named by its method and the template of its path, as the API's router matched it:
#   no path is parsed here, so that no encoding of a path can reach another operation's rule.
operation := data.access.operations[input.operation]

# METADATA
# title: Whether the request may be made
# description: False unless a role grants the operation and nothing denies it.
# entrypoint: true
default allow := false

allow if {
	granted
	count(deny) == 0
}

# METADATA
# title: Whether the caller may come in
# description: |
#   Asked before anything of the request is read: what can be said without knowing the tenant. The
#   tenant still has to be decided, by allow, where tenant_bound is true.
# entrypoint: true
door := {
	"open": granted,
	"tenant_bound": tenant_bound,
	"deny": [denial | some denial in deny; denial.rule != "tenant"],
}

# METADATA
# title: The whole decision
# description: Allow with what denies, in one answer.
# entrypoint: true
decision := {"allow": allow, "deny": deny}

default granted := false

granted if "anyone" in operation.roles

granted if {
	some role in input.caller.roles
	role in operation.roles
}

default tenant_bound := true

tenant_bound := operation.tenant_bound

# METADATA
# title: No such operation
# description: The operation is not in data.json.
# entrypoint: true
# custom:
#   rule: operation
deny contains refusal("operation", why, fix) if {
	not operation
	why := "the access policy has no such operation"
	fix := "see the OpenAPI document for the operations there are"
}

# METADATA
# title: No role that grants the operation
# description: The caller holds none of the roles that the operation asks for.
# custom:
#   rule: role
deny contains refusal("role", why, fix) if {
	operation
	not granted
	why := sprintf("this needs one of the roles %v", [sort(operation.roles)])
	fix := "ask an operator for the role, or use another account"
}

# METADATA
# title: Another tenant's
# description: |
#   An operation bound to a tenant is refused to callers that may not act for that tenant. Roles listed
#   in data.json as crossing tenants may act for all; a caller without tenants for none.
# custom:
#   rule: tenant
deny contains refusal("tenant", why, fix) if {
	operation
	tenant_bound
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
