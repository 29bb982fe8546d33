# Image references, read the way container runtimes read them.
package provost.lib.images

import data.provost.lib.objects
import data.provost.lib.pods

# Everything that a pod pulls: {"label", "path", "image"}; containers first, then image volumes.
pulled := array.concat(
	[reference |
		some container in pods.containers
		image := objects.text(container.spec, "image")
		image != ""
		reference := {"label": container.label, "path": pods.path(container, ["image"]), "image": image}
	],
	[reference |
		some volume in pods.volumes
		image := objects.text(objects.map(volume.spec, "image"), "reference")
		image != ""
		reference := {"label": volume.label, "path": pods.path(volume, ["image", "reference"]), "image": image}
	],
)

# The digest, such as `sha256:...`; empty where there is none that could be one.
digest(image) := found if {
	parts := split(image, "@")
	count(parts) == 2
	found := parts[1]
	regex.match(`^[A-Za-z][A-Za-z0-9]*([-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$`, found)
} else := ""

# The tag; empty where there is none. A colon before the last slash belongs to a port of the registry.
tag(image) := found if {
	segments := split(split(image, "@")[0], "/")
	pieces := split(segments[count(segments) - 1], ":")
	count(pieces) == 2
	found := pieces[1]
} else := ""

# Host and repository in full, without tag and digest: `nginx:1.27` is `docker.io/library/nginx`.
repository(image) := named(host(image), written_path(image))

named(host_name, path) := concat("/", [host_name, path]) if {
	host_name != "docker.io"
} else := concat("/", [host_name, path]) if {
	contains(path, "/")
} else := concat("/", [host_name, "library", path])

host(image) := canonical_host(segment) if {
	contains(image, "/")
	segment := first_segment(image)
	is_host(segment)
} else := "docker.io"

# The name without host, tag and digest.
written_path(image) := concat("/", array.concat(array.slice(segments, 0, last), [bare])) if {
	segments := path_segments(image)
	last := count(segments) - 1
	bare := split(segments[last], ":")[0]
}

path_segments(image) := array.slice(segments, 1, count(segments)) if {
	segments := split(split(image, "@")[0], "/")
	count(segments) > 1
	is_host(segments[0])
} else := split(split(image, "@")[0], "/")

first_segment(image) := split(split(image, "@")[0], "/")[0]

is_host(segment) if contains(segment, ".")

is_host(segment) if contains(segment, ":")

is_host(segment) if segment == "localhost"

canonical_host(written) := "docker.io" if {
	name := lower(written)
	name in {"docker.io", "index.docker.io"}
} else := lower(written)

# True where a registry (`registry.example.org`), a part of one (`registry.example.org/team`) or a repository covers
# the image. Names end at a slash: `registry.example.org/team` does not cover `registry.example.org/teammate/app`,
# nor `registry.example.org` the host `registry.example.org.evil.example`.
covered_by_any(image, entries) if {
	name := repository(image)
	some entry in entries
	is_string(entry)
	covered_by(name, full_entry(trim_right(entry, "/")))
}

covered_by(name, entry) if name == entry

covered_by(name, entry) if startswith(name, concat("", [entry, "/"]))

# An entry with its host in full; like an image, one without a host is on Docker Hub.
full_entry(entry) := canonical_host(entry) if {
	contains(entry, "/") == false
	is_host(entry)
}

full_entry(entry) := concat("/", [canonical_host(first_segment(entry)), written_path(entry)]) if {
	contains(entry, "/")
	is_host(first_segment(entry))
}

full_entry(entry) := repository(entry) if {
	entry != ""
	first := first_segment(entry)
	not is_host(first)
}
