package provost.pods.read_only_root_filesystem_test

import data.provost.pods.read_only_root_filesystem

found(spec) := result if {
	result := read_only_root_filesystem.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "Pod"}}}
}

test_missing_violates_and_the_patch_makes_the_parent if {
	some finding in found({"initContainers": [{"name": "a"}]})
	finding.path == ["spec", "initContainers", 0, "securityContext", "readOnlyRootFilesystem"]
	contains(finding.msg, "init container \"a\"")
	finding.patch == [{
		"op": "add",
		"path": "/spec/initContainers/0/securityContext",
		"value": {"readOnlyRootFilesystem": true},
	}]
}

test_only_true_passes if {
	count(found({"containers": [{"securityContext": {"readOnlyRootFilesystem": true}}]})) == 0
	count(found({"containers": [{"securityContext": {"readOnlyRootFilesystem": false}}]})) == 1
	count(found({"containers": [{"securityContext": {"readOnlyRootFilesystem": "true"}}]})) == 1
	count(found({"securityContext": {"readOnlyRootFilesystem": true}, "containers": [{"name": "a"}]})) == 1
}

test_every_list_of_containers_counts if {
	bad := [{"name": "x"}]
	count(found({"containers": bad, "initContainers": bad, "ephemeralContainers": bad})) == 3
}

test_windows_is_exempt if count(found({"os": {"name": "windows"}, "containers": [{"name": "a"}]})) == 0
