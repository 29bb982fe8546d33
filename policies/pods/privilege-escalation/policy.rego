# METADATA
# title: No privilege escalation
# description: >-
#   Without allowPrivilegeEscalation: false a process can gain more rights than its parent, for example through a
#   program with the setuid bit. Kubernetes allows it unless told otherwise.
# custom:
#   id: privilege-escalation
#   code: R02
#   severity: medium
#   category: security
#   kinds:
#   - {group: "", kinds: [Pod, PodTemplate, ReplicationController]}
#   - {group: apps, kinds: [Deployment, StatefulSet, DaemonSet, ReplicaSet]}
#   - {group: batch, kinds: [Job, CronJob]}
#   action: warn
#   failMode: open
#   controls:
#   - {framework: pod-security-standards, version: "latest", id: "allowPrivilegeEscalation", strength: full}
#   - {framework: cis-kubernetes, version: "1.9", id: "5.2.6", strength: full}
#   - {framework: cis-kubernetes, version: "1.10", id: "5.2.6", strength: full}
#   - {framework: cis-kubernetes, version: "1.11", id: "5.2.6", strength: full}
#   - {framework: cis-kubernetes, version: "1.12", id: "5.2.6", strength: full}
#   - {framework: cis-kubernetes, version: "2.0", id: "5.2.6", strength: full}
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "1.7", strength: full}
#   - {framework: mitre-attack, version: "16", id: "T1068", strength: supporting}
#   - {framework: mitre-attack, version: "16", id: "T1611", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "AC-6", strength: supporting, review: proposed}
#   - {framework: pci-dss, version: "4.0", id: "7.2.2", strength: supporting, review: proposed}
#   - {framework: soc2, version: "2017", id: "CC6.1", strength: supporting}
#   remediation: >-
#     Set securityContext.allowPrivilegeEscalation to false in every container.
package provost.pods.privilege_escalation

import data.provost.lib.objects
import data.provost.lib.patch
import data.provost.lib.pods

keys := ["securityContext", "allowPrivilegeEscalation"]

violation contains object.union(finding, repair(container)) if {
	not pods.windows
	some container in pods.containers
	pods.field(container, keys) != false
	finding := {
		"msg": concat("", [container.label, " can gain privileges: set securityContext.allowPrivilegeEscalation to false"]),
		"path": pods.path(container, keys),
	}
}

# The API server refuses the value beside privileged and CAP_SYS_ADMIN; what to give up there is not ours to say.
repair(container) := {} if refused(container)

repair(container) := patch.put(container.path, container.spec, keys, false) if not refused(container)

refused(_) if pods.names_windows

refused(container) if pods.field(container, ["securityContext", "privileged"]) == true

refused(container) if {
	capabilities := objects.map(objects.map(container.spec, "securityContext"), "capabilities")
	"CAP_SYS_ADMIN" in objects.list(capabilities, "add")
}
