package provost.lib.cluster_test

import data.provost.lib.cluster

at_least(version, major, minor) if {
	cluster.at_least(major, minor) with input as {"cluster": {"version": version}}
}

test_versions_compare_by_number if {
	at_least("v1.35.0", 1, 35)
	at_least("v1.100.0", 1, 35)
	at_least("2.0", 1, 35)
	at_least("v1.35.1-eks-a5ec690", 1, 35)
	not at_least("v1.9.11", 1, 35)
	not at_least("1.34", 1, 35)
}

test_no_version_means_the_newest if {
	cluster.at_least(1, 35) with input as {}
	cluster.at_least(1, 35) with input as {"cluster": null}
	at_least(null, 1, 35)
	at_least("", 1, 35)
	at_least("latest", 1, 35)
	at_least(1.2, 1, 35)
}
