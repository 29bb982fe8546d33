package provost.images.mutable_image_tag_test

import data.provost.images.mutable_image_tag

found(image) := result if {
	result := mutable_image_tag.violation with input as {
		"review": {"object": {"spec": {"containers": [{"name": "a", "image": image}]}}, "kind": {"kind": "Pod"}},
		"parameters": {"forbidden_tags": ["latest"]},
	}
}

hex := "4c1c50d0ffc614f90b93b07d778028dc765548e823f676fb027f61d281ac380d"

test_no_tag_violates if {
	every image in ["nginx", "a.example:5000/b/nginx", "localhost:5000/nginx", "nginx@", "nginx:", "nginx@sha256:0"] {
		some finding in found(image)
		finding.path == ["spec", "containers", 0, "image"]
		contains(finding.msg, "without a tag")
	}
}

test_latest_violates if {
	every image in ["nginx:latest", "a.example:5000/b/nginx:latest", "nginx:latest@sha256:0"] {
		some finding in found(image)
		contains(finding.msg, "moving tag latest")
	}
}

test_versions_and_digests_pass if {
	digest := concat("", ["@sha256:", hex])
	images := [
		"nginx:1.29", "a.example:5000/b/nginx:1.29", "nginx:latest-alpine",
		concat("", ["nginx", digest]), concat("", ["nginx:latest", digest]), concat("", ["a.example:5000/b/nginx", digest]),
	]
	every image in images {
		count(found(image)) == 0
	}
}

test_what_is_no_image_passes if {
	every image in ["", null, 7, ["nginx"]] {
		count(found(image)) == 0
	}
}

test_image_volumes_and_all_containers_count if {
	bad := [{"name": "x", "image": "nginx"}]
	spec := {
		"containers": bad, "initContainers": bad, "ephemeralContainers": bad,
		"volumes": [{"name": "v", "image": {"reference": "nginx"}}, {"name": "w", "emptyDir": {}}],
	}
	result := mutable_image_tag.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "Pod"}}}
	count(result) == 4
	some finding in result
	finding.path == ["spec", "volumes", 0, "image", "reference"]
}
