package provost.rbac.wildcard_verbs_test

import data.provost.rbac.wildcard_verbs

found(object) := result if {
	result := wildcard_verbs.violation with input as {
		"review": {"object": object, "kind": {"group": "rbac.authorization.k8s.io", "kind": "ClusterRole"}},
		"parameters": {
			"exempt_names": ["system:*"],
			"exempt_labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
		},
	}
}

everything := [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}, {"resources": ["pods"], "verbs": ["get", "*"]}]

test_a_wildcard_violates if {
	some finding in found({"metadata": {"name": "x"}, "rules": everything})
	finding.path == ["rules", 1, "verbs", 1]
}

test_what_kubernetes_creates_is_exempt if {
	count(found({"metadata": {"name": "system:x"}, "rules": everything})) == 0
	labels := {"kubernetes.io/bootstrapping": "rbac-defaults"}
	count(found({"metadata": {"name": "x", "labels": labels}, "rules": everything})) == 0
	count(found({"metadata": {"name": "x", "labels": {"kubernetes.io/bootstrapping": "no"}}, "rules": everything})) == 1
}

test_aggregated_roles_are_judged_at_their_sources if {
	count(found({"aggregationRule": {"clusterRoleSelectors": []}, "rules": everything})) == 0
	count(found({"aggregationRule": null, "rules": everything})) == 1
}

test_others_pass if {
	count(found({"rules": [{"resources": ["*"], "apiGroups": ["*"], "verbs": ["get", "get*"]}]})) == 0
	every rules in [null, [], "rules", [null, "x", {}, {"verbs": null}, {"verbs": "*"}, {"verbs": [["*"], 1]}]] {
		count(found({"rules": rules})) == 0
	}
}
