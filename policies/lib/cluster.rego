# The version of the cluster that the object is meant for.
package provost.lib.cluster

# True where the cluster runs this version of Kubernetes or a newer one. A version that is missing or unreadable
# means the newest known.
at_least(major, minor) if not older_than(major, minor)

older_than(major, minor) if {
	number := version
	number < [major, minor]
}

version := [to_number(numbers[0]), to_number(numbers[1])] if {
	written := object.get(input, ["cluster", "version"], null)
	is_string(written)
	numbers := regex.find_n(`[0-9]+`, written, 2)
	count(numbers) == 2
}
