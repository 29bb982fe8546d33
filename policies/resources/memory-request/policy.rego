# METADATA
# title: Memory request
# description: >-
#   Without a memory request the scheduler counts the container as needing none: nodes are overfilled, and the pod
#   is among the first to be evicted. A memory limit counts, because Kubernetes takes it for a missing request; so
#   does a request of the whole pod.
# custom:
#   id: memory-request
#   code: Q02
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
#   - {framework: nist-800-53, version: "5", id: "SC-6", strength: supporting, review: proposed}
#   - {framework: soc2, version: "2017", id: "A1.1", strength: supporting, review: proposed}
#   remediation: >-
#     Set resources.requests.memory to what the container needs in normal work.
package provost.resources.memory_request

import data.provost.lib.pods
import data.provost.lib.resources

violation contains finding if {
	not resources.of_pod("requests", "memory")
	not resources.of_pod("limits", "memory")
	some container in pods.lasting_containers
	not resources.of_container(container, "requests", "memory")
	not resources.of_container(container, "limits", "memory")
	finding := {
		"msg": concat("", [container.label, " requests no memory: set resources.requests.memory"]),
		"path": pods.path(container, ["resources", "requests", "memory"]),
	}
}
