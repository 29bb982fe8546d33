# METADATA
# title: Containers drop all capabilities
# description: >-
#   A container starts with a set of root's powers that hardly any program needs, such as changing the owner of
#   files or sending forged packets. Dropping ALL leaves only what is added back by name.
# custom:
#   id: drop-capabilities
#   code: R06
#   severity: medium
#   category: security
#   kinds:
#   - {group: "", kinds: [Pod, PodTemplate, ReplicationController]}
#   - {group: apps, kinds: [Deployment, StatefulSet, DaemonSet, ReplicaSet]}
#   - {group: batch, kinds: [Job, CronJob]}
#   action: warn
#   failMode: open
#   controls:
#   - {framework: pod-security-standards, version: "latest", id: "capabilities_restricted", strength: partial}
#   - {framework: cis-kubernetes, version: "1.9", id: "5.2.10", strength: full}
#   - {framework: cis-kubernetes, version: "1.10", id: "5.2.10", strength: full}
#   - {framework: cis-kubernetes, version: "1.11", id: "5.2.10", strength: full}
#   - {framework: cis-kubernetes, version: "1.12", id: "5.2.9", strength: full}
#   - {framework: cis-kubernetes, version: "2.0", id: "5.2.9", strength: full}
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "pods", strength: supporting}
#   - {framework: mitre-attack, version: "16", id: "T1611", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-3", strength: supporting, review: proposed}
#   - {framework: nist-800-53, version: "5", id: "CM-7", strength: supporting, review: proposed}
#   - {framework: pci-dss, version: "4.0", id: "2.2.4", strength: supporting, review: proposed}
#   - {framework: soc2, version: "2017", id: "CC6.1", strength: supporting}
#   remediation: >-
#     Set securityContext.capabilities.drop to ["ALL"] and add back by name what the program needs.
package provost.pods.drop_capabilities

import data.provost.lib.objects
import data.provost.lib.patch
import data.provost.lib.pods

keys := ["securityContext", "capabilities", "drop"]

violation contains object.union(finding, repair(container)) if {
	not pods.windows
	some container in pods.containers
	dropped := objects.list(objects.map(objects.map(container.spec, "securityContext"), "capabilities"), "drop")
	not "ALL" in dropped
	finding := {
		"msg": concat("", [container.label, " keeps capabilities: set securityContext.capabilities.drop to [\"ALL\"]"]),
		"path": pods.path(container, keys),
	}
}

# A list that is there stays and gets one more element.
repair(container) := {} if {
	pods.names_windows
} else := patch.append_to(pods.path(container, keys), "ALL") if {
	is_array(pods.field(container, keys))
} else := patch.put(container.path, container.spec, keys, ["ALL"])
