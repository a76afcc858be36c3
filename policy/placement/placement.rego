# METADATA
# title: Placement
# description: |
#   Says for every candidate (a cloud and a region) whether a workflow execution may run there, and if
#   not, why and what would mend it. A candidate that no rule denies is allowed; a candidate or an input
#   that lacks a fact is denied by rule `input`. Regions are data, not code: data.json.
# scope: package
# organizations:
# - Maestro Conductor
# entrypoint: false
# custom:
#   owner: orchestrator-platform
#   severity: high
#   input: see policy/placement/README.md
package placement

import rego.v1

required_input := {"tenant", "data_class", "residency", "needs", "candidates", "flags"}

required_candidate := {"cloud", "region", "capabilities", "drained", "quota_left"}

# METADATA
# title: Candidates by name
# description: Every candidate under the name `CLOUD/region` that the answers use.
named contains {"name": name, "candidate": candidate} if {
	some candidate in input.candidates
	name := sprintf("%v/%v", [object.get(candidate, "cloud", "?"), object.get(candidate, "region", "?")])
}

# METADATA
# title: Allowed candidates
# description: The names of the candidates that no rule denies.
# entrypoint: true
allow contains entry.name if {
	some entry in named
	not entry.name in refused_names
}

refused_names := {denial.candidate | some denial in deny}

# METADATA
# title: The input lacks a fact
# description: An input without one of its members denies every candidate.
# entrypoint: true
# custom:
#   rule: input
deny contains refusal("*", "input", why, fix) if {
	some field in (required_input - object.keys(input))
	why := sprintf("the placement input has no %v", [field])
	fix := sprintf("send %v; policy/placement/README.md shows the shape", [field])
}

deny contains refusal(entry.name, "input", why, fix) if {
	some entry in named
	count(required_input - object.keys(input)) > 0
	why := "the placement input is incomplete, so nothing can be allowed"
	fix := "send every member that policy/placement/README.md shows"
}

deny contains refusal(entry.name, "input", why, fix) if {
	some entry in named
	some field in (required_candidate - object.keys(entry.candidate))
	why := sprintf("the candidate has no %v", [field])
	fix := sprintf("let the driver report %v", [field])
}

# METADATA
# title: Region not on the list
# description: A region that data.json does not list for its cloud runs nothing.
# custom:
#   rule: region
deny contains refusal(entry.name, "region", why, fix) if {
	some entry in named
	not listed(entry.candidate)
	why := sprintf("region %v of %v is not on the list of allowed regions", [
		object.get(entry.candidate, "region", "?"),
		object.get(entry.candidate, "cloud", "?"),
	])
	fix := sprintf("choose one of %v, or add the region to policy/placement/data.json", [region_names])
}

# METADATA
# title: Cloud behind a flag that is off
# description: A cloud in preview takes executions only where its flag is on for the tenant.
# custom:
#   rule: cloud_flag
deny contains refusal(entry.name, "cloud_flag", why, fix) if {
	some entry in named
	flag := data.placement.cloud_flags[entry.candidate.cloud]
	object.get(input, ["flags", flag], false) != true
	why := sprintf("%v is in preview and its flag %v is off", [entry.candidate.cloud, flag])
	fix := sprintf("turn %v on for tenant %v, or place on another cloud", [flag, object.get(input, "tenant", "?")])
}

# METADATA
# title: Outside the tenant's residency
# description: |
#   The region lies in none of the geographies, and is none of the regions, that the tenant's residency
#   names. An empty residency allows nothing.
# custom:
#   rule: residency
deny contains refusal(entry.name, "residency", why, fix) if {
	some entry in named
	region := listed_region(entry.candidate)
	places := {place | some place in region.geographies} | {entry.name}
	promised := {place | some place in object.get(input, "residency", [])}
	count(places & promised) == 0
	why := sprintf("the tenant's data stays in %v, and %v lies in %v", [sort(promised), entry.name, region.geographies])
	fix := "choose a region inside the residency, or change the tenant's residency by contract"
}

# METADATA
# title: Data class too high for the region
# description: The region is cleared for a lower class of data; an unknown class is cleared nowhere.
# custom:
#   rule: data_class
deny contains refusal(entry.name, "data_class", why, fix) if {
	some entry in named
	region := listed_region(entry.candidate)
	not cleared(region)
	wanted := object.get(input, "data_class", "?")
	why := sprintf("data of class %v may not go where at most %v is cleared", [wanted, region.data_class])
	fix := "choose a region cleared for this class of data"
}

# METADATA
# title: Root file system not read-only
# description: The workflow needs a read-only root and the candidate does not enforce one.
# custom:
#   rule: read_only_root
deny contains refusal(entry.name, "read_only_root", why, fix) if {
	some entry in named
	object.get(input, ["needs", "read_only_root"], true) != false
	object.get(entry.candidate, ["capabilities", "read_only_root"], false) != true
	why := "the workflow needs a read-only root file system, which the driver does not enforce here"
	fix := "choose a candidate that enforces it; `mc doctor` says what this machine lacks"
}

# METADATA
# title: Egress not controllable
# description: |
#   The workflow limits its network egress more finely than the candidate can enforce. From coarse to
#   fine: open, none (no network at all), ip (allow-list of addresses), fqdn (allow-list of names).
# custom:
#   rule: egress
deny contains refusal(entry.name, "egress", why, fix) if {
	some entry in named
	wanted := object.get(input, ["needs", "egress"], "none")
	offered := object.get(entry.candidate, ["capabilities", "egress"], [])
	not wanted in offered
	why := sprintf("the workflow needs egress control of kind %v; the driver offers %v", [wanted, offered])
	fix := "choose a candidate that offers it, or declare a coarser egress need in the manifest"
}

# METADATA
# title: Drained
# description: An operator or a drill has drained the region.
# custom:
#   rule: drained
deny contains refusal(entry.name, "drained", why, fix) if {
	some entry in named
	object.get(entry.candidate, "drained", true) != false
	why := sprintf("%v is drained", [entry.name])
	fix := "wait until it is put back, or choose another region"
}

# METADATA
# title: No quota left
# description: The cloud's quota for this shape is used up.
# custom:
#   rule: quota
deny contains refusal(entry.name, "quota", why, fix) if {
	some entry in named
	not has_quota(entry.candidate)
	why := sprintf("no quota is left in %v", [entry.name])
	fix := "wait for running executions to finish, or ask the cloud for more"
}

refusal(name, rule, why, fix) := {"candidate": name, "rule": rule, "why": why, "fix": fix}

has_quota(candidate) if {
	left := object.get(candidate, "quota_left", 0)
	is_number(left)
	left > 0
}

listed_region(candidate) := data.placement.regions[candidate.cloud][candidate.region]

listed(candidate) if is_object(listed_region(candidate))

cleared(region) if {
	rank := data.placement.data_classes
	rank[input.data_class] <= rank[region.data_class]
}

region_names := sort([sprintf("%v/%v", [cloud, region]) |
	some cloud, regions in data.placement.regions
	some region, _ in regions
])
