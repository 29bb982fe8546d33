package provost.lib.patch_test

import data.provost.lib.patch

test_the_last_parent_that_exists_is_extended if {
	patch.put(["a"], {"x": {}}, ["x", "y", "z"], 1).patch == [{"op": "add", "path": "/a/x/y", "value": {"z": 1}}]
	patch.put(["a"], {"x": {"y": {"w": 0}}}, ["x", "y", "z"], 1).patch == [{"op": "add", "path": "/a/x/y/z", "value": 1}]
	patch.put(["a"], {}, ["x", "y", "z"], 1).patch == [{"op": "add", "path": "/a/x", "value": {"y": {"z": 1}}}]
	patch.put(["a"], {"x": null}, ["x", "y"], 1).patch == [{"op": "add", "path": "/a/x", "value": {"y": 1}}]
	patch.put(["a"], {"x": 2}, ["x"], 1).patch == [{"op": "add", "path": "/a/x", "value": 1}]
}

test_nothing_of_another_type_is_replaced if {
	patch.put(["a"], {"x": "text"}, ["x", "y"], 1) == {}
	patch.put(["a"], {"x": {"y": []}}, ["x", "y", "z"], 1) == {}
}

test_pointers_are_escaped if {
	patch.pointer(["metadata", "labels", "a/b~c", 0]) == "/metadata/labels/a~1b~0c/0"
}
