# METADATA
# title: No host port
# description: >-
#   A host port is open on every address of the node, past Services and most network policies, and only one such
#   pod fits on a node. In a pod on the host network every container port is a host port.
# custom:
#   id: host-port
#   code: A07
#   severity: medium
#   category: security
#   kinds:
#   - {group: "", kinds: [Pod, PodTemplate, ReplicationController]}
#   - {group: apps, kinds: [Deployment, StatefulSet, DaemonSet, ReplicaSet]}
#   - {group: batch, kinds: [Job, CronJob]}
#   parameters:
#     allowed_ports:
#       type: array
#       description: Host ports that may be used.
#       items: {type: integer}
#       default: []
#   action: deny
#   failMode: open
#   controls:
#   - {framework: pod-security-standards, version: "latest", id: "hostPorts", strength: full}
#   - {framework: cis-kubernetes, version: "1.9", id: "5.2.13", strength: full}
#   - {framework: cis-kubernetes, version: "1.10", id: "5.2.13", strength: full}
#   - {framework: cis-kubernetes, version: "1.11", id: "5.2.13", strength: full}
#   - {framework: cis-kubernetes, version: "1.12", id: "5.2.12", strength: full}
#   - {framework: cis-kubernetes, version: "2.0", id: "5.2.12", strength: full}
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "pods", strength: supporting}
#   - {framework: mitre-attack, version: "16", id: "T1133", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-7", strength: supporting, review: proposed}
#   - {framework: nist-800-53, version: "5", id: "SC-7", strength: supporting, review: proposed}
#   - {framework: pci-dss, version: "4.0", id: "1.2.5", strength: supporting, review: proposed}
#   - {framework: soc2, version: "2017", id: "CC6.6", strength: supporting, review: proposed}
#   remediation: >-
#     Remove hostPort and publish the port through a Service, or list it in allowed_ports.
package provost.pods.host_port

import data.provost.lib.objects
import data.provost.lib.parameters
import data.provost.lib.patch
import data.provost.lib.pods

violation contains object.union(finding, repair(port)) if {
	some port in ports
	number := host_port(port.spec)
	not number in parameters.list("allowed_ports")
	finding := {
		"msg": sprintf("%s takes port %v of the node: %s", [port.label, number, advice]),
		"path": pods.path(port, ["hostPort"]),
	}
}

ports := [port |
	some container in pods.containers
	items := objects.list(container.spec, "ports")
	some index, item in items
	is_object(item)
	port := {"label": container.label, "path": pods.path(container, ["ports", index]), "spec": item}
]

# What the API server makes of it: on the host network a container port is a host port.
host_port(port) := number if {
	number := object.get(port, "hostPort", null)
	not unset(number)
} else := number if {
	pods.host_network
	number := object.get(port, "containerPort", null)
	not unset(number)
}

unset(number) if number in [null, 0]

advice := "remove hostNetwork, under which every container port is a host port" if {
	pods.host_network
} else := "remove hostPort and use a Service"

# On the host network the port stays, whatever is removed.
repair(_) := {} if pods.host_network

repair(port) := patch.remove(pods.path(port, ["hostPort"])) if not pods.host_network
