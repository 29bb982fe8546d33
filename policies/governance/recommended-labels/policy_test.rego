package provost.governance.recommended_labels_test

import data.provost.governance.recommended_labels

found(metadata) := result if {
	result := recommended_labels.violation with input as {
		"review": {"object": {"metadata": metadata}, "kind": {"kind": "Service"}},
		"parameters": {"labels": ["example.org/b", "example.org/a"]},
	}
}

test_missing_labels_are_named_in_order if {
	some finding in found({"name": "x"})
	finding.path == ["metadata", "labels"]
	finding.msg == "these labels are missing or empty: example.org/b, example.org/a"
}

test_empty_labels_and_other_types_are_missing if {
	every value in ["", null, 1, true] {
		some finding in found({"labels": {"example.org/a": value, "example.org/b": "here"}})
		finding.msg == "these labels are missing or empty: example.org/a"
	}
	every labels in [null, [], "example.org/a"] {
		count(found({"labels": labels})) == 1
	}
}

test_labels_that_are_there_pass if {
	count(found({"labels": {"example.org/a": "x", "example.org/b": "y", "example.org/c": "z"}})) == 0
}

test_what_a_controller_made_passes if {
	count(found({"ownerReferences": [{"kind": "ReplicaSet", "controller": true}]})) == 0
	count(found({"ownerReferences": [{"kind": "ReplicaSet"}, null]})) == 1
	count(found({"ownerReferences": null})) == 1
}

test_without_labels_to_ask_for_all_pass if {
	review := {"object": {"metadata": {}}, "kind": {"kind": "Service"}}
	every labels in [[], null, [null, 1]] {
		result := recommended_labels.violation with input as {"review": review, "parameters": {"labels": labels}}
		count(result) == 0
	}
}
