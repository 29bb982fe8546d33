package provost.pods.host_path_test

import data.provost.pods.host_path

found(spec) := result if {
	result := host_path.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "Pod"}}}
}

test_host_path_violates if {
	some finding in found({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/var/run"}}]})
	finding.path == ["spec", "volumes", 1, "hostPath"]
	contains(finding.msg, "volume \"b\"")
}

test_an_empty_host_path_violates if count(found({"volumes": [{"name": "a", "hostPath": {}}]})) == 1

test_others_pass if {
	count(found({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": null}]})) == 0
	count(found({"volumes": []})) == 0
	count(found({"volumes": null})) == 0
	count(found({"volumes": ["hostPath", 1, null]})) == 0
	count(found({"volumes": {"hostPath": {"path": "/"}}})) == 0
	count(found({})) == 0
}
