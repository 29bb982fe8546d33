package provost.network.node_port_test

import data.provost.network.node_port

found(spec) := result if {
	result := node_port.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "Service"}}}
}

test_node_port_violates if {
	some finding in found({"type": "NodePort", "ports": [{"port": 80}]})
	finding.path == ["spec", "type"]
}

test_others_pass if {
	every type in ["ClusterIP", "LoadBalancer", "ExternalName", "nodeport", "", null, 1, ["NodePort"]] {
		count(found({"type": type})) == 0
	}
	every spec in [null, {}, [], "NodePort", {"ports": [{"nodePort": 30080}]}] {
		count(found(spec)) == 0
	}
}
