package provost.lib.pods_test

import data.provost.lib.pods

template := {"template": {"spec": {"containers": [{"name": "a"}]}}}

specs := {
	"Pod": template.template.spec,
	"ReplicationController": template,
	"ReplicaSet": template,
	"Deployment": template,
	"StatefulSet": template,
	"DaemonSet": template,
	"Job": template,
	"CronJob": {"jobTemplate": {"spec": template}},
}

test_every_kind_has_its_containers if {
	every kind, spec in specs {
		found := pods.containers with input as {"review": {"object": {"spec": spec}, "kind": {"kind": kind}}}
		count(found) == 1
		found[0].label == "container \"a\""
		object.get({"spec": spec}, found[0].path, null) == {"name": "a"}
	}
}

test_pod_templates_have_no_outer_spec if {
	found := pods.containers with input as {"review": {"object": template, "kind": {"kind": "PodTemplate"}}}
	found[0].path == ["template", "spec", "containers", 0]
}

test_other_kinds_have_none if {
	found := pods.containers with input as {"review": {"object": {"spec": template}, "kind": {"kind": "Service"}}}
	found == []
}

test_labels_name_the_list_and_the_container if {
	spec := {
		"containers": [{}],
		"initContainers": [{"name": "b"}],
		"ephemeralContainers": [{"name": ""}, {"name": 7}],
	}
	found := pods.containers with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "Pod"}}}
	labels := [container.label | some container in found]
	labels == ["container 0", "init container \"b\"", "ephemeral container 0", "ephemeral container 1"]
}
