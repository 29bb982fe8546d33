# METADATA
# title: No NodePort Service
# description: >-
#   A NodePort opens the same port on every node, past load balancers, their certificates and their logs, for
#   everyone who can reach a node.
# custom:
#   id: node-port
#   code: N08
#   severity: medium
#   category: security
#   kinds:
#   - {group: "", kinds: [Service]}
#   action: warn
#   failMode: open
#   controls:
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "network", strength: supporting}
#   - {framework: mitre-attack, version: "16", id: "T1133", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "SC-7", strength: supporting, review: proposed}
#   - {framework: pci-dss, version: "4.0", id: "1.3.1", strength: supporting, review: proposed}
#   - {framework: soc2, version: "2017", id: "CC6.6", strength: supporting, review: proposed}
#   remediation: >-
#     Use type ClusterIP with an Ingress or Gateway in front, or type LoadBalancer.
package provost.network.node_port

import data.provost.lib.objects

violation contains finding if {
	objects.text(objects.map(input.review.object, "spec"), "type") == "NodePort"
	finding := {
		"msg": "the Service opens a port on every node: use type ClusterIP or LoadBalancer",
		"path": ["spec", "type"],
	}
}
