# Requests and limits.
package provost.lib.resources

import data.provost.lib.objects
import data.provost.lib.pods

# True where the container asks for an amount over zero: `bound` is `requests` or `limits`.
of_container(container, bound, resource) if is_amount(amount(container.spec, bound, resource))

# The same for the pod as a whole.
of_pod(bound, resource) if is_amount(amount(pods.spec, bound, resource))

amount(holder, bound, resource) := object.get(objects.map(objects.map(holder, "resources"), bound), resource, null)

is_amount(quantity) if {
	is_number(quantity)
	quantity > 0
}

# Zero is written in many ways, and each means that nothing was set.
is_amount(quantity) if {
	is_string(quantity)
	regex.match(`[1-9]`, regex.replace(quantity, `[eE].*$`, ""))
}
