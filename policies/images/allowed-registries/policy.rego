# METADATA
# title: Images come from allowed registries
# description: >-
#   An image from anywhere is a program by anyone. Only registries and repositories on the list may be used;
#   without a list the policy gives no verdict.
# custom:
#   id: allowed-registries
#   code: I03
#   severity: high
#   category: security
#   kinds:
#   - {group: "", kinds: [Pod, PodTemplate, ReplicationController]}
#   - {group: apps, kinds: [Deployment, StatefulSet, DaemonSet, ReplicaSet]}
#   - {group: batch, kinds: [Job, CronJob]}
#   parameters:
#     allowed:
#       type: array
#       description: >-
#         Registries (registry.example.org), parts of them (registry.example.org/team) and repositories
#         (docker.io/library/nginx), without tags. A name ends at a slash. Without a host it is read as on Docker Hub.
#       items: {type: string}
#   requires: [allowed]
#   action: deny
#   failMode: open
#   controls:
#   - {framework: cis-kubernetes, version: "1.9", id: "5.5.1", strength: partial}
#   - {framework: cis-kubernetes, version: "1.10", id: "5.5.1", strength: partial}
#   - {framework: cis-kubernetes, version: "1.11", id: "5.5.1", strength: partial}
#   - {framework: cis-kubernetes, version: "1.12", id: "5.5.1", strength: partial}
#   - {framework: cis-kubernetes, version: "2.0", id: "5.5.1", strength: partial}
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "scan", strength: supporting}
#   - {framework: mitre-attack, version: "16", id: "T1204.003", strength: supporting}
#   - {framework: microsoft-threat-matrix, version: "2022", id: "MS-TA9012", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "AC-6", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-11", strength: supporting, review: proposed}
#   - {framework: nist-800-53, version: "5", id: "SR-3", strength: supporting, review: proposed}
#   - {framework: pci-dss, version: "4.0", id: "6.3.2", strength: supporting, review: proposed}
#   - {framework: soc2, version: "2017", id: "CC6.8", strength: supporting, review: proposed}
#   remediation: >-
#     Copy the image to an allowed registry and use it from there, or add its registry or repository to the list.
package provost.images.allowed_registries

import data.provost.lib.images
import data.provost.lib.parameters

violation contains finding if {
	allowed := parameters.list("allowed")
	count(allowed) > 0
	some reference in images.pulled
	not images.covered_by_any(reference.image, allowed)
	name := images.repository(reference.image)
	finding := {
		"msg": concat("", [reference.label, " uses ", name, ", which no allowed registry covers: use an image from one"]),
		"path": reference.path,
	}
}
