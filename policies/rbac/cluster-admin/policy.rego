# METADATA
# title: cluster-admin only where it is needed
# description: >-
#   Who is bound to cluster-admin can do everything to every object, in the whole cluster or, by a RoleBinding, in
#   one namespace. What Kubernetes itself creates is left out by the parameters' defaults.
# custom:
#   id: cluster-admin
#   code: B01
#   severity: critical
#   category: security
#   kinds:
#   - {group: rbac.authorization.k8s.io, kinds: [ClusterRoleBinding, RoleBinding]}
#   parameters:
#     allowed_subjects:
#       type: array
#       description: >-
#         Who may be bound, as User:name, Group:name or ServiceAccount:namespace/name; one that ends in * is the beginning.
#       items: {type: string}
#       default: []
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
#   - {framework: cis-kubernetes, version: "1.9", id: "5.1.1", strength: full}
#   - {framework: cis-kubernetes, version: "1.10", id: "5.1.1", strength: full}
#   - {framework: cis-kubernetes, version: "1.11", id: "5.1.1", strength: full}
#   - {framework: cis-kubernetes, version: "1.12", id: "5.1.1", strength: full}
#   - {framework: cis-kubernetes, version: "2.0", id: "5.1.1", strength: full}
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "authn", strength: supporting}
#   - {framework: mitre-attack, version: "16", id: "T1098.006", strength: supporting}
#   - {framework: microsoft-threat-matrix, version: "2022", id: "MS-TA9019", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "AC-6", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-4", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-5", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "CM-7", strength: supporting}
#   - {framework: pci-dss, version: "4.0", id: "7.2.1", strength: supporting}
#   - {framework: pci-dss, version: "4.0", id: "7.2.2", strength: supporting}
#   - {framework: pci-dss, version: "4.0", id: "7.2.5", strength: supporting}
#   - {framework: pci-dss, version: "4.0", id: "8.2.4", strength: supporting}
#   - {framework: soc2, version: "2017", id: "CC6.1", strength: supporting}
#   - {framework: soc2, version: "2017", id: "CC6.2", strength: supporting}
#   - {framework: soc2, version: "2017", id: "CC6.3", strength: supporting}
#   - {framework: soc2, version: "2017", id: "CC6.7", strength: supporting}
#   - {framework: soc2, version: "2017", id: "CC6.8", strength: supporting}
#   remediation: >-
#     Bind a role that names what is needed. Someone who truly needs cluster-admin is named in allowed_subjects.
package provost.rbac.cluster_admin

import data.provost.lib.objects
import data.provost.lib.parameters
import data.provost.lib.rbac

violation contains finding if {
	rbac.role_ref == {"kind": "ClusterRole", "name": "cluster-admin"}
	not rbac.exempt
	some index, subject in rbac.subjects
	is_object(subject)
	who := rbac.described(subject)
	not objects.matches_any(parameters.list("allowed_subjects"), who)
	finding := {
		"msg": concat("", [who, " gets cluster-admin", rbac.extent, ": bind a role that grants less"]),
		"path": ["subjects", index],
	}
}
