package provost.pods.run_as_non_root_test

import data.provost.pods.run_as_non_root

found(spec) := result if {
	result := run_as_non_root.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "Pod"}}}
}

at(spec, version) := result if {
	result := run_as_non_root.violation with input as {
		"review": {"object": {"spec": spec}, "kind": {"kind": "Pod"}},
		"cluster": {"version": version},
	}
}

test_missing_violates_and_the_patch_makes_the_parent if {
	some finding in found({"containers": [{"name": "a"}]})
	finding.path == ["spec", "containers", 0, "securityContext", "runAsNonRoot"]
	finding.patch == [{"op": "add", "path": "/spec/containers/0/securityContext", "value": {"runAsNonRoot": true}}]
}

test_the_container_counts_over_the_pod if {
	yes := {"runAsNonRoot": true}
	no := {"runAsNonRoot": false}
	count(found({"securityContext": yes, "containers": [{"name": "a"}]})) == 0
	count(found({"securityContext": yes, "containers": [{"securityContext": no}]})) == 1
	count(found({"securityContext": no, "containers": [{"securityContext": yes}]})) == 0
	count(found({"securityContext": no, "containers": [{"name": "a"}]})) == 1
	count(found({"securityContext": yes, "containers": [{"securityContext": {"runAsNonRoot": null}}]})) == 0
}

test_every_list_of_containers_counts if {
	bad := [{"name": "x"}]
	count(found({"containers": bad, "initContainers": bad, "ephemeralContainers": bad})) == 3
}

test_wrong_types_violate if {
	count(found({"containers": [{"securityContext": {"runAsNonRoot": "true"}}]})) == 1
	count(found({"securityContext": true, "containers": [{"securityContext": []}]})) == 1
}

test_no_patch_for_a_container_that_is_told_to_be_root if {
	some finding in found({"securityContext": {"runAsUser": 0}, "containers": [{"name": "a"}]})
	not finding.patch
}

test_user_namespaces_are_exempt_from_1_35_on if {
	spec := {"hostUsers": false, "containers": [{"name": "a"}]}
	count(found(spec)) == 0
	count(at(spec, "v1.36.3")) == 0
	count(at(spec, "1.35")) == 0
	count(at(spec, "v1.34.2-gke.1")) == 1
	count(at(spec, "v1.9.0")) == 1
	count(at(spec, null)) == 0
	count(found({"hostUsers": true, "containers": [{"name": "a"}]})) == 1
}
