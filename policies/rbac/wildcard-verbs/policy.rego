# METADATA
# title: No wildcard verbs in roles
# description: >-
#   A rule with the verb * also grants verbs that nobody had in mind: escalate, bind, impersonate,
#   deletecollection, and those of later versions. Roles that Kubernetes itself creates are left out by the
#   parameters' defaults, and so are those that it aggregates from other roles, which are judged where they are
#   written.
# custom:
#   id: wildcard-verbs
#   code: B03
#   severity: high
#   category: security
#   kinds:
#   - {group: rbac.authorization.k8s.io, kinds: [ClusterRole, Role]}
#   parameters:
#     exempt_names:
#       type: array
#       description: Names of objects that are left alone; one that ends in * is the beginning of a name.
#       items: {type: string}
#       default: ["system:*"]
#     exempt_labels:
#       type: object
#       description: An object that carries one of these labels with this value is left alone.
#       default: {kubernetes.io/bootstrapping: rbac-defaults}
#   action: warn
#   failMode: open
#   controls:
#   - {framework: cis-kubernetes, version: "1.9", id: "5.1.3", strength: partial}
#   - {framework: cis-kubernetes, version: "1.10", id: "5.1.3", strength: partial}
#   - {framework: cis-kubernetes, version: "1.11", id: "5.1.3", strength: partial}
#   - {framework: cis-kubernetes, version: "1.12", id: "5.1.3", strength: partial}
#   - {framework: cis-kubernetes, version: "2.0", id: "5.1.3", strength: partial}
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "authn", strength: supporting}
#   - {framework: mitre-attack, version: "16", id: "T1098.006", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "AC-6", strength: supporting}
#   - {framework: pci-dss, version: "4.0", id: "7.3.3", strength: supporting}
#   - {framework: pci-dss, version: "4.0", id: "8.2.4", strength: supporting}
#   - {framework: soc2, version: "2017", id: "CC6.3", strength: supporting, review: proposed}
#   remediation: >-
#     Name the verbs that are needed, such as get, list and watch.
package provost.rbac.wildcard_verbs

import data.provost.lib.objects
import data.provost.lib.rbac

violation contains finding if {
	not rbac.exempt
	not rbac.aggregated
	rules := objects.list(input.review.object, "rules")
	some index, rule in rules
	verbs := objects.list(rule, "verbs")
	some position, verb in verbs
	verb == "*"
	finding := {
		"msg": sprintf("rule %d grants every verb: name the verbs that are needed", [index]),
		"path": ["rules", index, "verbs", position],
	}
}
