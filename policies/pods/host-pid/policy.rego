# METADATA
# title: No host process ids
# description: >-
#   A pod that shares the node's process ids sees every process of the node and of other pods, can signal them,
#   and with a little more can read their memory and environment.
# custom:
#   id: host-pid
#   code: A02
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
#   - {framework: cis-kubernetes, version: "1.9", id: "5.2.3", strength: full}
#   - {framework: cis-kubernetes, version: "1.10", id: "5.2.3", strength: full}
#   - {framework: cis-kubernetes, version: "1.11", id: "5.2.3", strength: full}
#   - {framework: cis-kubernetes, version: "1.12", id: "5.2.3", strength: full}
#   - {framework: cis-kubernetes, version: "2.0", id: "5.2.3", strength: full}
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "1.4", strength: full}
#   - {framework: mitre-attack, version: "16", id: "T1611", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-3", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-7", strength: supporting}
#   - {framework: pci-dss, version: "4.0", id: "2.2.4", strength: supporting, review: proposed}
#   - {framework: soc2, version: "2017", id: "CC6.1", strength: supporting, review: proposed}
#   remediation: >-
#     Remove hostPID from the pod spec.
package provost.pods.host_pid

import data.provost.lib.patch
import data.provost.lib.pods

violation contains object.union(finding, patch.replace_with(path, false)) if {
	pods.pod_field(["hostPID"]) == true
	path := pods.pod_path(["hostPID"])
	finding := {
		"msg": "the pod sees the node's processes: remove hostPID or set it to false",
		"path": path,
	}
}
