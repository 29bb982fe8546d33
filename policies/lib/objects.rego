# Reading fields that may be missing, null or of the wrong type.
package provost.lib.objects

# The list under a key; empty where there is none.
list(parent, key) := found if {
	is_object(parent)
	found := object.get(parent, key, null)
	is_array(found)
} else := []

# The text under a key; empty where there is none.
text(parent, key) := found if {
	is_object(parent)
	found := object.get(parent, key, null)
	is_string(found)
} else := ""

# The object under a key; empty where there is none.
map(parent, key) := found if {
	is_object(parent)
	found := object.get(parent, key, null)
	is_object(found)
} else := {}

# `"name"` in quotes, or the position of something that has no name.
called(parent, index) := concat("", ["\"", name, "\""]) if {
	name := text(parent, "name")
	name != ""
} else := sprintf("%d", [index])

# A pattern is a name, or the beginning of one followed by `*`.
matches_any(patterns, name) if {
	some pattern in patterns
	is_string(pattern)
	matches(pattern, name)
}

matches(pattern, name) if pattern == name

matches(pattern, name) if {
	endswith(pattern, "*")
	startswith(name, trim_suffix(pattern, "*"))
}
