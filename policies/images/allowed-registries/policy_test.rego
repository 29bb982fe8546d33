package provost.images.allowed_registries_test

import data.provost.images.allowed_registries

found(image, allowed) := result if {
	result := allowed_registries.violation with input as {
		"review": {"object": {"spec": {"containers": [{"name": "a", "image": image}]}}, "kind": {"kind": "Pod"}},
		"parameters": {"allowed": allowed},
	}
}

allowed := ["r.example", "ghcr.io/team/", "docker.io/library/postgres", "localhost:5000/team", "bitnami/redis"]

test_covered_images_pass if {
	images := [
		"r.example/a", "r.example/a/b/c:1", "R.EXAMPLE/a", "ghcr.io/team/x@sha256:0", "postgres", "docker.io/postgres:17",
		"docker.io/library/postgres", "index.docker.io/library/postgres:17", "localhost:5000/team/x", "bitnami/redis:8",
	]
	every image in images {
		count(found(image, allowed)) == 0
	}
}

test_other_images_violate if {
	images := [
		"r.example.evil.example/a", "r.example:5000/a", "ghcr.io/teammate/x", "ghcr.io/x", "postgres-exporter", "a/postgres",
		"localhost:5001/team/x", "localhost/team/x", "bitnami/redis-cluster", "nginx", "r.example", "r.example:1",
	]
	every image in images {
		some finding in found(image, allowed)
		finding.path == ["spec", "containers", 0, "image"]
	}
}

test_the_message_names_the_repository_in_full if {
	some finding in found("nginx:1.29", allowed)
	contains(finding.msg, "docker.io/library/nginx,")
}

test_an_entry_without_slash_and_host_is_one_repository if {
	count(found("nginx:1", ["nginx"])) == 0
	count(found("nginx/unit:1", ["nginx"])) == 1
	count(found("docker.io/anything/at-all:1", ["docker.io"])) == 0
}

test_odd_entries_cover_nothing if count(found("r.example/a:1", ["", "/", null, 7, "r.example/"])) == 0

test_odd_entries_alone_cover_nothing if {
	every entry in ["", "/", "//", null, 7, {}] {
		count(found("r.example/a:1", [entry])) == 1
	}
}

test_without_a_list_there_is_nothing_to_say if {
	count(found("nginx", [])) == 0
	count(found("nginx", null)) == 0
}
