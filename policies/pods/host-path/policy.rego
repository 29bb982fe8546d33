# METADATA
# title: No hostPath volume
# description: >-
#   A hostPath volume hands files of the node to a container. Depending on the path this gives away credentials of
#   the node, sockets of its runtime or a way to start processes on it, and it ties the pod to one node.
# custom:
#   id: host-path
#   code: A06
#   severity: high
#   category: security
#   kinds:
#   - {group: "", kinds: [Pod, PodTemplate, ReplicationController]}
#   - {group: apps, kinds: [Deployment, StatefulSet, DaemonSet, ReplicaSet]}
#   - {group: batch, kinds: [Job, CronJob]}
#   action: deny
#   failMode: open
#   controls:
#   - {framework: pod-security-standards, version: "latest", id: "hostPathVolumes", strength: full}
#   - {framework: cis-kubernetes, version: "1.9", id: "5.2.12", strength: full}
#   - {framework: cis-kubernetes, version: "1.10", id: "5.2.12", strength: full}
#   - {framework: cis-kubernetes, version: "1.11", id: "5.2.12", strength: full}
#   - {framework: cis-kubernetes, version: "1.12", id: "5.2.11", strength: full}
#   - {framework: cis-kubernetes, version: "2.0", id: "5.2.11", strength: full}
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "pods", strength: supporting}
#   - {framework: mitre-attack, version: "16", id: "T1611", strength: supporting}
#   - {framework: microsoft-threat-matrix, version: "2022", id: "MS-TA9013", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "SC-7", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "SA-8", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-3", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-6", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-7", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "AC-4", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "AC-16", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "SI-7", strength: supporting}
#   - {framework: pci-dss, version: "4.0", id: "2.2.4", strength: supporting, review: proposed}
#   - {framework: soc2, version: "2017", id: "CC6.1", strength: supporting, review: proposed}
#   remediation: >-
#     Use a persistentVolumeClaim, an emptyDir, a projected volume or a CSI driver instead of hostPath.
package provost.pods.host_path

import data.provost.lib.pods

violation contains finding if {
	some volume in pods.volumes
	pods.field(volume, ["hostPath"]) != null
	finding := {
		"msg": concat("", [volume.label, " is a path of the node: use a claim, an emptyDir or a CSI volume instead of hostPath"]),
		"path": pods.path(volume, ["hostPath"]),
	}
}
