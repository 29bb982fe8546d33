package provost.resources.memory_limit_test

import data.provost.resources.memory_limit

found(spec) := result if {
	result := memory_limit.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "Pod"}}}
}

paths(spec) := {finding.path | some finding in found(spec)}

test_missing_violates if {
	some finding in found({"containers": [{"name": "a"}]})
	finding.path == ["spec", "containers", 0, "resources", "limits", "memory"]
}

test_init_containers_count_and_ephemeral_ones_cannot if {
	bad := [{"name": "x"}]
	paths({"containers": bad, "initContainers": bad, "ephemeralContainers": bad}) == {
		["spec", "containers", 0, "resources", "limits", "memory"],
		["spec", "initContainers", 0, "resources", "limits", "memory"],
	}
}

test_amounts_pass if {
	every amount in ["64Mi", "0.5Gi", "1e9", "129M", 134217728, "1E"] {
		count(found({"containers": [{"resources": {"limits": {"memory": amount}}}]})) == 0
	}
}

test_zero_and_other_types_violate if {
	every amount in ["0", "0Mi", "0e9", "0.0", "", 0, null, true, ["64Mi"]] {
		count(found({"containers": [{"resources": {"limits": {"memory": amount}}}]})) == 1
	}
	every resources in [null, "64Mi", [], {"limits": null}, {"limits": {"cpu": 1}}] {
		count(found({"containers": [{"resources": resources}]})) == 1
	}
}

test_the_whole_pod_counts if {
	spec := {"resources": {"limits": {"memory": "1Gi"}}, "containers": [{"name": "a"}, {"name": "b"}]}
	count(found(spec)) == 0
}

test_a_request_is_no_limit if {
	count(found({"containers": [{"resources": {"requests": {"memory": "64Mi"}}}]})) == 1
	count(found({"resources": {"requests": {"memory": "64Mi"}}, "containers": [{"name": "a"}]})) == 1
}
