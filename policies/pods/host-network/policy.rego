# METADATA
# title: No host network
# description: >-
#   A pod in the node's network can listen on the node's addresses, reach services that listen only on loopback,
#   see the traffic of other pods, and is outside every NetworkPolicy.
# custom:
#   id: host-network
#   code: A01
#   severity: high
#   category: security
#   kinds:
#   - {group: "", kinds: [Pod, PodTemplate, ReplicationController]}
#   - {group: apps, kinds: [Deployment, StatefulSet, DaemonSet, ReplicaSet]}
#   - {group: batch, kinds: [Job, CronJob]}
#   action: deny
#   failMode: open
#   controls:
#   - {framework: pod-security-standards, version: "latest", id: "hostNamespaces", strength: partial}
#   - {framework: cis-kubernetes, version: "1.9", id: "5.2.5", strength: full}
#   - {framework: cis-kubernetes, version: "1.10", id: "5.2.5", strength: full}
#   - {framework: cis-kubernetes, version: "1.11", id: "5.2.5", strength: full}
#   - {framework: cis-kubernetes, version: "1.12", id: "5.2.5", strength: full}
#   - {framework: cis-kubernetes, version: "2.0", id: "5.2.5", strength: full}
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "1.5", strength: full}
#   - {framework: mitre-attack, version: "16", id: "T1611", strength: supporting}
#   - {framework: mitre-attack, version: "16", id: "T1046", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-3", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-7", strength: supporting}
#   - {framework: pci-dss, version: "4.0", id: "1.4.4", strength: supporting, review: proposed}
#   - {framework: soc2, version: "2017", id: "CC6.6", strength: supporting, review: proposed}
#   - {framework: iso-27001, version: "2022", id: "A.8.20", strength: supporting, review: proposed}
#   - {framework: iso-27001, version: "2022", id: "A.8.22", strength: supporting, review: proposed}
#   remediation: >-
#     Remove hostNetwork from the pod spec; publish ports through a Service instead.
package provost.pods.host_network

import data.provost.lib.patch
import data.provost.lib.pods

violation contains object.union(finding, patch.replace_with(path, false)) if {
	pods.pod_field(["hostNetwork"]) == true
	path := pods.pod_path(["hostNetwork"])
	finding := {
		"msg": "the pod uses the node's network: remove hostNetwork or set it to false",
		"path": path,
	}
}
