# METADATA
# title: Memory limit
# description: >-
#   A container without a memory limit can take all of the node's memory, and others are killed for it. A limit of
#   the whole pod counts.
# custom:
#   id: memory-limit
#   code: Q03
#   severity: medium
#   category: resilience
#   kinds:
#   - {group: "", kinds: [Pod, PodTemplate, ReplicationController]}
#   - {group: apps, kinds: [Deployment, StatefulSet, DaemonSet, ReplicaSet]}
#   - {group: batch, kinds: [Job, CronJob]}
#   action: warn
#   failMode: open
#   controls:
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "4.x", strength: supporting}
#   - {framework: mitre-attack, version: "16", id: "T1499", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "SC-6", strength: supporting}
#   - {framework: soc2, version: "2017", id: "A1.1", strength: supporting, review: proposed}
#   remediation: >-
#     Set resources.limits.memory, with some room over what the container needs at most.
package provost.resources.memory_limit

import data.provost.lib.pods
import data.provost.lib.resources

violation contains finding if {
	not resources.of_pod("limits", "memory")
	some container in pods.lasting_containers
	not resources.of_container(container, "limits", "memory")
	finding := {
		"msg": concat("", [container.label, " has no memory limit: set resources.limits.memory"]),
		"path": pods.path(container, ["resources", "limits", "memory"]),
	}
}
