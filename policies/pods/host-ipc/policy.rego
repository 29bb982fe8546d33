# METADATA
# title: No host inter-process communication
# description: >-
#   A pod that shares the node's inter-process communication can read and write the shared memory of processes on
#   the node and of other pods that do the same.
# custom:
#   id: host-ipc
#   code: A03
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
#   - {framework: cis-kubernetes, version: "1.9", id: "5.2.4", strength: full}
#   - {framework: cis-kubernetes, version: "1.10", id: "5.2.4", strength: full}
#   - {framework: cis-kubernetes, version: "1.11", id: "5.2.4", strength: full}
#   - {framework: cis-kubernetes, version: "1.12", id: "5.2.4", strength: full}
#   - {framework: cis-kubernetes, version: "2.0", id: "5.2.4", strength: full}
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "1.3", strength: full}
#   - {framework: mitre-attack, version: "16", id: "T1611", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-3", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-7", strength: supporting}
#   - {framework: pci-dss, version: "4.0", id: "2.2.4", strength: supporting, review: proposed}
#   - {framework: soc2, version: "2017", id: "CC6.1", strength: supporting, review: proposed}
#   remediation: >-
#     Remove hostIPC from the pod spec; containers of one pod share memory without it.
package provost.pods.host_ipc

import data.provost.lib.patch
import data.provost.lib.pods

violation contains object.union(finding, patch.replace_with(path, false)) if {
	pods.pod_field(["hostIPC"]) == true
	path := pods.pod_path(["hostIPC"])
	finding := {
		"msg": "the pod shares memory with the node: remove hostIPC or set it to false",
		"path": path,
	}
}
