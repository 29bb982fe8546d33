package provost.pods.host_port_test

import data.provost.pods.host_port

found(spec) := result if {
	result := host_port.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "Pod"}}}
}

test_host_port_violates if {
	some finding in found({"containers": [{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 81, "hostPort": 8081}]}]})
	finding.path == ["spec", "containers", 0, "ports", 1, "hostPort"]
	contains(finding.msg, "port 8081")
	finding.patch == [{"op": "remove", "path": "/spec/containers/0/ports/1/hostPort"}]
}

test_every_list_of_containers_counts if {
	bad := [{"name": "x", "ports": [{"containerPort": 80, "hostPort": 80}]}]
	count(found({"containers": bad, "initContainers": bad, "ephemeralContainers": bad})) == 3
}

test_unset_passes if {
	count(found({"containers": [{"ports": [{"containerPort": 80}, {"containerPort": 81, "hostPort": 0}]}]})) == 0
	count(found({"containers": [{"ports": [{"hostPort": null}]}, {"ports": null}, {"ports": "80"}, {}]})) == 0
}

test_host_network_makes_container_ports_host_ports if {
	some finding in found({"hostNetwork": true, "containers": [{"name": "a", "ports": [{"containerPort": 9100}]}]})
	finding.path == ["spec", "containers", 0, "ports", 0, "hostPort"]
	contains(finding.msg, "port 9100")
	not finding.patch
}

test_allowed_ports_pass if {
	object := {"spec": {"containers": [{"ports": [{"hostPort": 80}, {"hostPort": 81}]}]}}
	review := {"object": object, "kind": {"kind": "Pod"}}
	result := host_port.violation with input as {"review": review, "parameters": {"allowed_ports": [80, 443]}}
	{finding.path | some finding in result} == {["spec", "containers", 0, "ports", 1, "hostPort"]}
}
