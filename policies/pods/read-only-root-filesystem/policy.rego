# METADATA
# title: Read-only root file system
# description: >-
#   Where the root file system can be written, an intruder can replace the program or leave tools behind, and data
#   written there is lost with the container.
# custom:
#   id: read-only-root-filesystem
#   code: W01
#   severity: medium
#   category: security
#   kinds:
#   - {group: "", kinds: [Pod, PodTemplate, ReplicationController]}
#   - {group: apps, kinds: [Deployment, StatefulSet, DaemonSet, ReplicaSet]}
#   - {group: batch, kinds: [Job, CronJob]}
#   action: warn
#   failMode: open
#   controls:
#   - {framework: cis-kubernetes, version: "1.9", id: "5.7.3", strength: partial, review: proposed}
#   - {framework: cis-kubernetes, version: "1.10", id: "5.7.3", strength: partial, review: proposed}
#   - {framework: cis-kubernetes, version: "1.11", id: "5.6.3", strength: partial, review: proposed}
#   - {framework: cis-kubernetes, version: "1.12", id: "5.6.3", strength: partial, review: proposed}
#   - {framework: cis-kubernetes, version: "2.0", id: "5.6.3", strength: partial, review: proposed}
#   - {framework: nsa-cisa-kubernetes, version: "1.2", id: "1.1", strength: full}
#   - {framework: mitre-attack, version: "16", id: "T1036.005", strength: supporting}
#   - {framework: mitre-attack, version: "16", id: "T1525", strength: supporting}
#   - {framework: nist-800-53, version: "5", id: "SI-7", strength: supporting, review: proposed}
#   - {framework: nist-800-53, version: "5", id: "CM-5", strength: supporting, review: proposed}
#   - {framework: pci-dss, version: "4.0", id: "11.5.2", strength: supporting, review: proposed}
#   - {framework: soc2, version: "2017", id: "CC6.8", strength: supporting, review: proposed}
#   remediation: >-
#     Set securityContext.readOnlyRootFilesystem to true and mount an emptyDir where the program writes, for example
#     at /tmp.
package provost.pods.read_only_root_filesystem

import data.provost.lib.patch
import data.provost.lib.pods

keys := ["securityContext", "readOnlyRootFilesystem"]

violation contains object.union(finding, repair(container)) if {
	not pods.windows
	some container in pods.containers
	pods.field(container, keys) != true
	finding := {
		"msg": concat("", [container.label, " can write its root file system: set securityContext.readOnlyRootFilesystem to true"]),
		"path": pods.path(container, keys),
	}
}

repair(_) := {} if pods.names_windows

repair(container) := patch.put(container.path, container.spec, keys, true) if not pods.names_windows
