# Four controls as a conftest policy: the nearest to privileged-container, host-network, mutable-image-tag and
# memory-limit. For benchmarks alone; without parameters, exemptions, paths and repairs.
package main

import rego.v1

pod_spec := input.spec if input.kind == "Pod"

pod_spec := input.spec.template.spec if {
	input.kind in {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "ReplicationController"}
}

pod_spec := input.spec.jobTemplate.spec.template.spec if input.kind == "CronJob"

lasting contains container if some container in pod_spec.containers

containers contains container if some container in lasting

containers contains container if some container in pod_spec.initContainers

deny contains msg if {
	some container in containers
	container.securityContext.privileged == true
	msg := sprintf("container %s runs privileged", [container.name])
}

deny contains msg if {
	pod_spec.hostNetwork == true
	msg := sprintf("%s uses the network of its node", [input.metadata.name])
}

deny contains msg if {
	some container in containers
	not contains(container.image, "@")
	has_moving_tag(container.image)
	msg := sprintf("container %s has an image without a fixed tag: %s", [container.name, container.image])
}

deny contains msg if {
	some container in lasting
	not container.resources.limits.memory
	msg := sprintf("container %s has no memory limit", [container.name])
}

has_moving_tag(image) if endswith(image, ":latest")

has_moving_tag(image) if not contains(regex.replace(image, `^.*/`, ""), ":")
