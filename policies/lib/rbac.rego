# Roles and bindings.
package provost.lib.rbac

import data.provost.lib.objects
import data.provost.lib.parameters

metadata := objects.map(input.review.object, "metadata")

# Objects that the parameters leave out; by default those that Kubernetes itself creates.
exempt if objects.matches_any(parameters.list("exempt_names"), objects.text(metadata, "name"))

exempt if {
	labels := objects.map(metadata, "labels")
	some name, value in parameters.map("exempt_labels")
	object.get(labels, name, null) == value
}

# The rules of an aggregated role are written by a controller, from other roles.
aggregated if object.get(input.review.object, "aggregationRule", null) != null

# Kind and name of the role that a binding grants.
role_ref := {"kind": objects.text(role, "kind"), "name": objects.text(role, "name")} if {
	role := objects.map(input.review.object, "roleRef")
}

subjects := objects.list(input.review.object, "subjects")

# `User:alice`, `Group:admins` or `ServiceAccount:namespace/name`.
described(subject) := concat("", ["ServiceAccount:", namespace_of(subject), "/", objects.text(subject, "name")]) if {
	objects.text(subject, "kind") == "ServiceAccount"
} else := concat(":", [objects.text(subject, "kind"), objects.text(subject, "name")])

namespace_of(subject) := objects.text(subject, "namespace")

extent := " in this namespace" if {
	input.review.kind.kind == "RoleBinding"
} else := " everywhere"
