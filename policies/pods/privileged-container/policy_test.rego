package provost.pods.privileged_container_test

import data.provost.pods.privileged_container

found(spec) := result if {
	result := privileged_container.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "Pod"}}}
}

test_privileged_violates if {
	some finding in found({"containers": [{"name": "a"}, {"name": "b", "securityContext": {"privileged": true}}]})
	finding.path == ["spec", "containers", 1, "securityContext", "privileged"]
	contains(finding.msg, "container \"b\"")
	finding.patch == [{"op": "replace", "path": "/spec/containers/1/securityContext/privileged", "value": false}]
}

test_every_list_of_containers_counts if {
	bad := [{"name": "x", "securityContext": {"privileged": true}}]
	count(found({"containers": bad, "initContainers": bad, "ephemeralContainers": bad})) == 3
}

test_others_pass if {
	count(found({"containers": [{"name": "a", "securityContext": {"privileged": false}}]})) == 0
	count(found({"containers": [{"name": "a", "securityContext": null}, {"name": "b"}]})) == 0
	count(found({"containers": [{"securityContext": {"privileged": "true"}}]})) == 0
	count(found({"containers": [{"securityContext": "privileged"}, null, 7]})) == 0
	count(found({"containers": {"securityContext": {"privileged": true}}})) == 0
}

test_exempt_image_passes if {
	bad := {"image": "quay.io/agents/csi:1", "securityContext": {"privileged": true}}
	object := {"spec": {"containers": [bad]}}
	review := {"object": object, "kind": {"kind": "Pod"}}
	exempt := privileged_container.violation with input as {"review": review, "parameters": {"exempt_images": ["quay.io/agents"]}}
	count(exempt) == 0
	other := privileged_container.violation with input as {"review": review, "parameters": {"exempt_images": ["quay.io/agent", 1, ""]}}
	count(other) == 1
}
