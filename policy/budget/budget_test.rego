package budget_test

import rego.v1

import data.budget

asked := {
	"estimate": {"p50_micros": 10, "p90_micros": 15, "currency": "USD", "confidence": 0.9, "source": "v2"},
	"budget": {"left_micros": 20, "currency": "USD"},
}

left(micros) := object.union(asked, {"budget": {"left_micros": micros}})

rules(found) := {entry.rule | some entry in found}

test_fits if {
	budget.allow with input as asked
	budget.deny == set() with input as asked
}

test_exactly_fits if budget.allow with input as left(15)

test_possibly_past_is_for_a_person if {
	not budget.allow with input as left(12)
	budget.deny == set() with input as left(12)
	rules(budget.review) == {"unsure"} with input as left(12)
}

test_surely_past_is_denied if {
	not budget.allow with input as left(9)
	rules(budget.deny) == {"over"} with input as left(9)
	budget.review == set() with input as left(9)
}

test_strict_denies_by_the_bound if {
	rules(budget.deny) == {"over"} with input as left(12) with data.budget.strict as true
}

test_a_guess_never_denies if {
	every change in [{"confidence": 0.69}, {"source": "v1"}] {
		guess := object.union(left(9), {"estimate": change})
		budget.deny == set() with input as guess
		rules(budget.review) == {"unsure"} with input as guess
	}
}

test_nothing_known if {
	unknown := {"estimate": null, "budget": asked.budget}
	budget.deny == set() with input as unknown
	rules(budget.review) == {"unknown"} with input as unknown
}

test_two_currencies if {
	foreign := object.union(asked, {"budget": {"currency": "EUR"}})
	rules(budget.deny) == {"currency"} with input as foreign
}

test_missing_facts if {
	rules(budget.deny) == {"input"} with input as {}
	rules(budget.deny) == {"input"} with input as {"estimate": asked.estimate}
}
