package provost.pods.host_network_test

import data.provost.pods.host_network

found(spec) := result if {
	result := host_network.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "Pod"}}}
}

test_true_violates if {
	some finding in found({"hostNetwork": true})
	finding.path == ["spec", "hostNetwork"]
	finding.patch == [{"op": "replace", "path": "/spec/hostNetwork", "value": false}]
}

test_false_null_and_missing_pass if {
	count(found({"hostNetwork": false})) == 0
	count(found({"hostNetwork": null})) == 0
	count(found({})) == 0
}

test_only_this_field_counts if count(found({"hostPID": true, "hostIPC": true})) == 0

test_wrong_types_pass if {
	count(found({"hostNetwork": "true"})) == 0
	count(found({"hostNetwork": 1})) == 0
	count(found("spec")) == 0
	count(found(null)) == 0
}

test_cron_job_path if {
	spec := {"jobTemplate": {"spec": {"template": {"spec": {"hostNetwork": true}}}}}
	result := host_network.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "CronJob"}}}
	some finding in result
	finding.path == ["spec", "jobTemplate", "spec", "template", "spec", "hostNetwork"]
}
