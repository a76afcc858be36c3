# METADATA
# title: Budget of an execution
# description: |
#   Compares the estimate of an execution, its middle and its 90 % bound, with what is left of a budget.
#   What is sure and too dear is denied; what is too dear and a guess, or only possibly too dear, is for a
#   person to decide; an input without its facts is denied.
# scope: package
# organizations:
# - Maestro Conductor
# custom:
#   owner: finance
#   severity: medium
#   input: see policy/budget/README.md
package budget

import rego.v1

# METADATA
# title: Whether the execution may go ahead by itself
# description: False unless nothing denies it and nobody needs to look.
# entrypoint: true
default allow := false

allow if {
	count(deny) == 0
	count(review) == 0
}

usable if {
	is_number(input.budget.left_micros)
	is_string(input.budget.currency)
	"estimate" in object.keys(input)
}

# METADATA
# title: The input lacks a fact
# description: Without a budget and an estimate (null where nothing is known) nothing goes ahead.
# entrypoint: true
# custom:
#   rule: input
deny contains refusal("input", why, fix) if {
	not usable
	why := "the input has no estimate or no budget"
	fix := "send both; policy/budget/README.md shows the shape"
}

# METADATA
# title: Two currencies
# description: Amounts of two currencies are not compared.
# custom:
#   rule: currency
deny contains refusal("currency", why, fix) if {
	usable
	known
	input.estimate.currency != input.budget.currency
	why := sprintf("the estimate is in %v, the budget in %v", [input.estimate.currency, input.budget.currency])
	fix := "price the execution in the currency of the budget"
}

# METADATA
# title: Surely past the budget
# description: A confident estimate whose middle, or under strict its 90 % bound, is past what is left.
# custom:
#   rule: over
deny contains refusal("over", why, fix) if {
	comparable
	sure
	too_dear
	why := "the estimate is past what is left of the budget"
	fix := "raise the budget, or make the execution smaller"
}

# METADATA
# title: Possibly past the budget
# description: The 90 % bound is past what is left, and the estimate is a guess or its middle still fits.
# entrypoint: true
# custom:
#   rule: unsure
review contains refusal("unsure", why, fix) if {
	comparable
	input.estimate.p90_micros > input.budget.left_micros
	count(deny) == 0
	why := "one run in ten may cost more than is left of the budget"
	fix := "let the owner of the budget decide"
}

# METADATA
# title: Nothing is known
# description: A first run of a kind has no estimate; a person lets it go ahead.
# custom:
#   rule: unknown
review contains refusal("unknown", why, fix) if {
	usable
	not known
	why := "nothing is known of what this execution costs"
	fix := "let the owner of the budget decide"
}

known if is_object(input.estimate)

comparable if {
	usable
	known
	input.estimate.currency == input.budget.currency
}

sure if {
	input.estimate.source == "v2"
	input.estimate.confidence >= data.budget.least_confidence
}

too_dear if input.estimate.p50_micros > input.budget.left_micros

too_dear if {
	data.budget.strict == true
	input.estimate.p90_micros > input.budget.left_micros
}

refusal(rule, why, fix) := {"rule": rule, "why": why, "fix": fix}
