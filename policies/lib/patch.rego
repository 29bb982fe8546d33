# JSON Patch operations that repair an object as it is.
package provost.lib.patch

# {"patch": ...} that sets the field under `keys` of the object `parent`, which sits at `base`, and makes the parents
# that are missing; {} where something else is in the way, so that nobody can say what is right.
put(base, parent, keys, value) := {"patch": [operation]} if {
	depth := deepest(parent, keys)
	is_free(parent, keys, depth)
	operation := {
		"op": "add",
		"path": pointer(array.concat(base, array.slice(keys, 0, depth + 1))),
		"value": nested(array.slice(keys, depth + 1, count(keys)), value),
	}
} else := {}

# {"patch": ...} that replaces a field that is there.
replace_with(path, value) := {"patch": [{"op": "replace", "path": pointer(path), "value": value}]}

# {"patch": ...} that removes a field that is there.
remove(path) := {"patch": [{"op": "remove", "path": pointer(path)}]}

# {"patch": ...} that adds an element to the end of a list that is there.
append_to(path, value) := {"patch": [{"op": "add", "path": concat("/", [pointer(path), "-"]), "value": value}]}

# How many of the keys lead to objects that exist.
deepest(parent, keys) := max([depth |
	some depth in numbers.range(0, count(keys) - 1)
	found := object.get(parent, array.slice(keys, 0, depth), null)
	is_object(found)
])

is_free(_, keys, depth) if depth == count(keys) - 1

is_free(parent, keys, depth) if {
	depth < count(keys) - 1
	object.get(parent, array.slice(keys, 0, depth + 1), null) == null
}

nested(keys, value) := value if count(keys) == 0

nested(keys, value) := {keys[0]: value} if count(keys) == 1

nested(keys, value) := {keys[0]: {keys[1]: value}} if count(keys) == 2

pointer(path) := concat("/", array.concat([""], [token | some key in path; token := escaped(key)]))

escaped(key) := replace(replace(key, "~", "~0"), "/", "~1") if is_string(key)

escaped(key) := sprintf("%d", [key]) if is_number(key)
