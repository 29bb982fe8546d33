# METADATA
# title: Recommended labels
# description: >-
#   The labels that Kubernetes recommends say what an object is, which release of it, what it belongs to and what
#   manages it. Tools and people find their way by them. Objects that a controller made are judged at their
#   controller.
# custom:
#   id: recommended-labels
#   code: G03
#   severity: low
#   category: standards
#   kinds:
#   - {group: "", kinds: [Pod, ReplicationController, Service]}
#   - {group: apps, kinds: [Deployment, StatefulSet, DaemonSet, ReplicaSet]}
#   - {group: batch, kinds: [Job, CronJob]}
#   parameters:
#     labels:
#       type: array
#       description: Labels that must be there and not be empty.
#       items: {type: string}
#       default: [app.kubernetes.io/name, app.kubernetes.io/version, app.kubernetes.io/part-of, app.kubernetes.io/managed-by]
#   action: audit
#   failMode: open
#   controls:
#   - {framework: nist-800-53, version: "5", id: "CM-8", strength: supporting, review: proposed}
#   - {framework: pci-dss, version: "4.0", id: "1.2.7", strength: supporting}
#   - {framework: iso-27001, version: "2022", id: "A.5.9", strength: supporting, review: proposed}
#   remediation: >-
#     Add the missing labels to metadata.labels, best through the chart or kustomization that writes the object.
package provost.governance.recommended_labels

import data.provost.lib.objects
import data.provost.lib.parameters

metadata := objects.map(input.review.object, "metadata")

present := objects.map(metadata, "labels")

# In the order in which they are asked for.
missing := [label |
	some label in parameters.list("labels")
	is_string(label)
	objects.text(present, label) == ""
]

violation contains finding if {
	not made_by_controller
	count(missing) > 0
	finding := {
		"msg": concat("", ["these labels are missing or empty: ", concat(", ", missing)]),
		"path": ["metadata", "labels"],
	}
}

made_by_controller if {
	owners := objects.list(metadata, "ownerReferences")
	some owner in owners
	is_object(owner)
	object.get(owner, "controller", null) == true
}
