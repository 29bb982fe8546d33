package provost.pods.drop_capabilities_test

import data.provost.pods.drop_capabilities

found(spec) := result if {
	result := drop_capabilities.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "Pod"}}}
}

test_missing_violates_and_the_patch_makes_the_parents if {
	some finding in found({"containers": [{"name": "a"}]})
	finding.path == ["spec", "containers", 0, "securityContext", "capabilities", "drop"]
	finding.patch == [{
		"op": "add",
		"path": "/spec/containers/0/securityContext",
		"value": {"capabilities": {"drop": ["ALL"]}},
	}]
}

test_the_patch_keeps_what_is_there if {
	some finding in found({"containers": [{"securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}}}]})
	finding.patch == [{"op": "add", "path": "/spec/containers/0/securityContext/capabilities/drop", "value": ["ALL"]}]
}

test_the_patch_extends_a_list if {
	some finding in found({"containers": [{"securityContext": {"capabilities": {"drop": ["NET_RAW"]}}}]})
	finding.patch == [{"op": "add", "path": "/spec/containers/0/securityContext/capabilities/drop/-", "value": "ALL"}]
}

test_only_all_passes if {
	count(found({"containers": [{"securityContext": {"capabilities": {"drop": ["ALL"]}}}]})) == 0
	count(found({"containers": [{"securityContext": {"capabilities": {"drop": ["NET_RAW", "ALL"]}}}]})) == 0
	count(found({"containers": [{"securityContext": {"capabilities": {"drop": ["all"]}}}]})) == 1
	count(found({"containers": [{"securityContext": {"capabilities": {"drop": "ALL"}}}]})) == 1
	count(found({"containers": [{"securityContext": {"capabilities": {"drop": null}}}]})) == 1
	count(found({"containers": [{"securityContext": {"capabilities": []}}]})) == 1
}

test_every_list_of_containers_counts if {
	bad := [{"name": "x"}]
	count(found({"containers": bad, "initContainers": bad, "ephemeralContainers": bad})) == 3
}

test_windows_is_exempt if count(found({"os": {"name": "windows"}, "containers": [{"name": "a"}]})) == 0
