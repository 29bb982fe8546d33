# METADATA
# title: No latest or missing image tag
# description: >-
#   An image without a tag, or with the tag latest, can be another program at every start: what was tested is not
#   what runs, two replicas may differ, and there is nothing to roll back to.
# custom:
#   id: mutable-image-tag
#   code: I01
#   severity: medium
#   category: security
#   kinds:
#   - {group: "", kinds: [Pod, PodTemplate, ReplicationController]}
#   - {group: apps, kinds: [Deployment, StatefulSet, DaemonSet, ReplicaSet]}
#   - {group: batch, kinds: [Job, CronJob]}
#   parameters:
#     forbidden_tags:
#       type: array
#       description: Tags that move. An image with a digest is fine whatever its tag.
#       items: {type: string}
#       default: [latest]
#   action: warn
#   failMode: open
#   controls:
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "upgrading", strength: supporting}
#   - {framework: mitre-attack, version: "16", id: "T1525", strength: supporting}
#   - {framework: mitre-attack, version: "16", id: "T1204.003", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-2", strength: supporting, review: proposed}
#   - {framework: nist-800-53, version: "5", id: "CM-14", strength: supporting, review: proposed}
#   - {framework: pci-dss, version: "4.0", id: "6.3.2", strength: supporting, review: proposed}
#   - {framework: soc2, version: "2017", id: "CC6.8", strength: supporting}
#   remediation: >-
#     Name a version as the tag, or better a digest.
package provost.images.mutable_image_tag

import data.provost.lib.images
import data.provost.lib.parameters

violation contains finding if {
	some reference in images.pulled
	images.digest(reference.image) == ""
	problem := problem_of(images.tag(reference.image))
	finding := {
		"msg": concat("", [reference.label, " uses an image ", problem, ": name a version or a digest"]),
		"path": reference.path,
	}
}

problem_of(tag) := "without a tag" if tag == ""

problem_of(tag) := concat("", ["with the moving tag ", tag]) if {
	tag != ""
	tag in parameters.list("forbidden_tags")
}
