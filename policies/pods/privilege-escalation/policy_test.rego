package provost.pods.privilege_escalation_test

import data.provost.pods.privilege_escalation

found(spec) := result if {
	result := privilege_escalation.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "Pod"}}}
}

test_missing_violates_and_the_patch_makes_the_parent if {
	some finding in found({"containers": [{"name": "a"}]})
	finding.path == ["spec", "containers", 0, "securityContext", "allowPrivilegeEscalation"]
	finding.patch == [{
		"op": "add",
		"path": "/spec/containers/0/securityContext",
		"value": {"allowPrivilegeEscalation": false},
	}]
}

test_the_patch_keeps_what_is_there if {
	some finding in found({"containers": [{"name": "a", "securityContext": {"runAsNonRoot": true}}]})
	finding.patch == [{
		"op": "add",
		"path": "/spec/containers/0/securityContext/allowPrivilegeEscalation",
		"value": false,
	}]
}

test_only_false_passes if {
	count(found({"containers": [{"securityContext": {"allowPrivilegeEscalation": false}}]})) == 0
	count(found({"containers": [{"securityContext": {"allowPrivilegeEscalation": true}}]})) == 1
	count(found({"containers": [{"securityContext": {"allowPrivilegeEscalation": "false"}}]})) == 1
	count(found({"containers": [{"securityContext": null}]})) == 1
	count(found({"securityContext": {"allowPrivilegeEscalation": false}, "containers": [{"name": "a"}]})) == 1
}

test_every_list_of_containers_counts if {
	bad := [{"name": "x"}]
	count(found({"containers": bad, "initContainers": bad, "ephemeralContainers": bad})) == 3
}

test_no_patch_that_the_api_server_refuses if {
	contexts := [{"privileged": true}, {"capabilities": {"add": ["CAP_SYS_ADMIN"]}}, "text"]
	every context in contexts {
		some finding in found({"containers": [{"securityContext": context}]})
		not finding.patch
	}
}

test_windows_is_exempt_from_1_25_on if {
	spec := {"os": {"name": "windows"}, "containers": [{"name": "a"}]}
	count(found(spec)) == 0
	count(at(spec, "v1.25.0")) == 0
	count(at(spec, "v1.24.9")) == 1
	count(at(spec, "unknown")) == 0
	count(found({"os": {"name": "linux"}, "containers": [{"name": "a"}]})) == 1
}

at(spec, version) := result if {
	result := privilege_escalation.violation with input as {
		"review": {"object": {"spec": spec}, "kind": {"kind": "Pod"}},
		"cluster": {"version": version},
	}
}
