# Pod specs wherever they sit, with their containers and the paths to them.
package provost.lib.pods

import data.provost.lib.cluster
import data.provost.lib.objects

spec_paths := {
	"Pod": ["spec"],
	"PodTemplate": ["template", "spec"],
	"ReplicationController": ["spec", "template", "spec"],
	"ReplicaSet": ["spec", "template", "spec"],
	"Deployment": ["spec", "template", "spec"],
	"StatefulSet": ["spec", "template", "spec"],
	"DaemonSet": ["spec", "template", "spec"],
	"Job": ["spec", "template", "spec"],
	"CronJob": ["spec", "jobTemplate", "spec", "template", "spec"],
}

spec_path := spec_paths[input.review.kind.kind]

spec := found if {
	found := object.get(input.review.object, spec_path, null)
	is_object(found)
}

container_lists := [
	{"field": "containers", "noun": "container"},
	{"field": "initContainers", "noun": "init container"},
	{"field": "ephemeralContainers", "noun": "ephemeral container"},
]

# All containers: {"field", "label" for messages, "path" to it, "spec" as written}.
containers := [container |
	some place in container_lists
	items := objects.list(spec, place.field)
	some index, item in items
	is_object(item)
	container := {
		"field": place.field,
		"label": concat(" ", [place.noun, objects.called(item, index)]),
		"path": array.concat(spec_path, [place.field, index]),
		"spec": item,
	}
]

# Ephemeral containers can carry neither resources nor ports.
lasting_containers := [container |
	some container in containers
	container.field != "ephemeralContainers"
]

# All volumes, in the form of containers.
volumes := [volume |
	items := objects.list(spec, "volumes")
	some index, item in items
	is_object(item)
	volume := {
		"label": concat(" ", ["volume", objects.called(item, index)]),
		"path": array.concat(spec_path, ["volumes", index]),
		"spec": item,
	}
]

# The value under the keys of a container, volume or port; null where it is missing.
field(holder, keys) := object.get(holder.spec, keys, null)

path(holder, keys) := array.concat(holder.path, keys)

# Fields of the pod itself.
pod_field(keys) := object.get(spec, keys, null)

pod_path(keys) := array.concat(spec_path, keys)

# Pods that say they are for Windows nodes. The API server refuses Linux-only fields in them.
names_windows if pod_field(["os", "name"]) == "windows"

# The same where Kubernetes holds a pod to what it says.
windows if {
	names_windows
	cluster.at_least(1, 25)
}

host_network if pod_field(["hostNetwork"]) == true

# Root in a pod with a user namespace of its own is nobody on the node.
user_namespace if {
	pod_field(["hostUsers"]) == false
	cluster.at_least(1, 35)
}
