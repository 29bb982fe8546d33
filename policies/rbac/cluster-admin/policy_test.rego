package provost.rbac.cluster_admin_test

import data.provost.rbac.cluster_admin

defaults := {
	"allowed_subjects": [],
	"exempt_names": ["system:*"],
	"exempt_labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
}

found(kind, written, parameters) := result if {
	result := cluster_admin.violation with input as {
		"review": {"object": written, "kind": {"group": "rbac.authorization.k8s.io", "kind": kind}},
		"parameters": object.union(defaults, parameters),
	}
}

admin := {"kind": "ClusterRole", "name": "cluster-admin"}

alice := {"kind": "User", "name": "alice"}

runner := {"kind": "ServiceAccount", "name": "runner", "namespace": "ci"}

binding := {"metadata": {"name": "x"}, "roleRef": admin, "subjects": [alice, runner]}

test_every_subject_is_a_finding if {
	result := found("ClusterRoleBinding", binding, {})
	{finding.path | some finding in result} == {["subjects", 0], ["subjects", 1]}
	some finding in result
	finding.msg == "ServiceAccount:ci/runner gets cluster-admin everywhere: bind a role that grants less"
}

test_a_role_binding_says_where if {
	some finding in found("RoleBinding", binding, {})
	contains(finding.msg, "in this namespace")
}

test_allowed_subjects_pass if {
	count(found("ClusterRoleBinding", binding, {"allowed_subjects": ["User:alice", "ServiceAccount:ci/*"]})) == 0
	count(found("ClusterRoleBinding", binding, {"allowed_subjects": ["alice", "User:ali", "Group:*", null, 1]})) == 2
}

test_what_kubernetes_creates_is_exempt_by_default if {
	labelled := object.union(binding, {"metadata": {"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}})
	named := object.union(binding, {"metadata": {"name": "system:x"}})
	count(found("ClusterRoleBinding", labelled, {})) == 0
	count(found("ClusterRoleBinding", named, {})) == 0
	count(found("ClusterRoleBinding", named, {"exempt_names": []})) == 2
	count(found("ClusterRoleBinding", labelled, {"exempt_labels": null})) == 2
}

test_other_roles_and_nobody_pass if {
	others := [{"kind": "Role", "name": "cluster-admin"}, {"kind": "ClusterRole", "name": "admin"}, null, "cluster-admin"]
	every role in others {
		count(found("RoleBinding", {"roleRef": role, "subjects": [alice]}, {})) == 0
	}
	every subjects in [[], null, "alice", [null, "alice"]] {
		count(found("ClusterRoleBinding", {"roleRef": admin, "subjects": subjects}, {})) == 0
	}
}
