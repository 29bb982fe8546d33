# METADATA
# title: No privileged container
# description: >-
#   A privileged container owns its node: it has every capability, every device and no seccomp or AppArmor
#   profile. One foothold in it is the node, and soon the cluster.
# custom:
#   id: privileged-container
#   code: A04
#   severity: critical
#   category: security
#   kinds:
#   - {group: "", kinds: [Pod, PodTemplate, ReplicationController]}
#   - {group: apps, kinds: [Deployment, StatefulSet, DaemonSet, ReplicaSet]}
#   - {group: batch, kinds: [Job, CronJob]}
#   parameters:
#     exempt_images:
#       type: array
#       description: Registries or repositories, such as registry.example.org/node-agents, whose images may run privileged.
#       items: {type: string}
#       default: []
#   action: deny
#   failMode: open
#   controls:
#   - {framework: pod-security-standards, version: "latest", id: "privileged", strength: full}
#   - {framework: cis-kubernetes, version: "1.9", id: "5.2.2", strength: full}
#   - {framework: cis-kubernetes, version: "1.10", id: "5.2.2", strength: full}
#   - {framework: cis-kubernetes, version: "1.11", id: "5.2.2", strength: full}
#   - {framework: cis-kubernetes, version: "1.12", id: "5.2.2", strength: full}
#   - {framework: cis-kubernetes, version: "2.0", id: "5.2.2", strength: full}
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "1.2", strength: full}
#   - {framework: mitre-attack, version: "16", id: "T1610", strength: supporting}
#   - {framework: mitre-attack, version: "16", id: "T1611", strength: supporting}
#   - {framework: microsoft-threat-matrix, version: "2022", id: "MS-TA9018", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-3", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-7", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "AC-6", strength: supporting, review: proposed}
#   - {framework: pci-dss, version: "4.0", id: "2.2.4", strength: supporting, review: proposed}
#   - {framework: soc2, version: "2017", id: "CC6.1", strength: supporting}
#   remediation: >-
#     Set securityContext.privileged to false or remove it, and add the one capability or device that is needed. A
#     node agent that cannot do without is named in exempt_images, or excluded with its namespace by a binding.
package provost.pods.privileged_container

import data.provost.lib.images
import data.provost.lib.objects
import data.provost.lib.parameters
import data.provost.lib.patch
import data.provost.lib.pods

violation contains object.union(finding, patch.replace_with(path, false)) if {
	some container in pods.containers
	pods.field(container, ["securityContext", "privileged"]) == true
	not exempt(container)
	path := pods.path(container, ["securityContext", "privileged"])
	finding := {
		"msg": concat("", [container.label, " runs privileged: set securityContext.privileged to false"]),
		"path": path,
	}
}

exempt(container) if {
	image := objects.text(container.spec, "image")
	image != ""
	images.covered_by_any(image, parameters.list("exempt_images"))
}
