# METADATA
# title: Containers do not run as root
# description: >-
#   Root in a container is root on the node for every kernel bug and every file that is shared. With runAsNonRoot
#   the kubelet refuses to start a container whose image would run as root. A pod with a user namespace of its own
#   (hostUsers: false) is exempt from Kubernetes 1.35 on.
# custom:
#   id: run-as-non-root
#   code: R03
#   severity: medium
#   category: security
#   kinds:
#   - {group: "", kinds: [Pod, PodTemplate, ReplicationController]}
#   - {group: apps, kinds: [Deployment, StatefulSet, DaemonSet, ReplicaSet]}
#   - {group: batch, kinds: [Job, CronJob]}
#   action: warn
#   failMode: open
#   controls:
#   - {framework: pod-security-standards, version: "latest", id: "runAsNonRoot", strength: full}
#   - {framework: cis-kubernetes, version: "1.9", id: "5.2.7", strength: partial}
#   - {framework: cis-kubernetes, version: "1.10", id: "5.2.7", strength: partial}
#   - {framework: cis-kubernetes, version: "1.11", id: "5.2.7", strength: partial}
#   - {framework: cis-kubernetes, version: "1.12", id: "5.2.7", strength: partial}
#   - {framework: cis-kubernetes, version: "2.0", id: "5.2.7", strength: partial}
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "1.0", strength: partial}
#   - {framework: mitre-attack, version: "16", id: "T1068", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "AC-6", strength: supporting, review: proposed}
#   - {framework: pci-dss, version: "4.0", id: "7.2.2", strength: supporting, review: proposed}
#   - {framework: soc2, version: "2017", id: "CC6.1", strength: supporting, review: proposed}
#   remediation: >-
#     Set securityContext.runAsNonRoot to true in the pod or in every container, and let the image name a numeric
#     user other than 0.
package provost.pods.run_as_non_root

import data.provost.lib.patch
import data.provost.lib.pods

keys := ["securityContext", "runAsNonRoot"]

violation contains object.union(finding, repair(container)) if {
	not pods.user_namespace
	some container in pods.containers
	effective(container, "runAsNonRoot") != true
	finding := {
		"msg": concat("", [container.label, " may run as root: set securityContext.runAsNonRoot to true"]),
		"path": pods.path(container, keys),
	}
}

# What the container says, else what the pod says; null where neither does.
effective(container, field) := value if {
	value := pods.field(container, ["securityContext", field])
	value != null
} else := pods.pod_field(["securityContext", field])

# A container that is told to be root would not start any more.
repair(container) := {} if effective(container, "runAsUser") == 0

repair(container) := patch.put(container.path, container.spec, keys, true) if effective(container, "runAsUser") != 0
