package provost.pods.host_pid_test

import data.provost.pods.host_pid

found(spec) := result if {
	result := host_pid.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "Pod"}}}
}

test_true_violates if {
	some finding in found({"hostPID": true})
	finding.path == ["spec", "hostPID"]
	finding.patch == [{"op": "replace", "path": "/spec/hostPID", "value": false}]
}

test_false_null_and_missing_pass if {
	count(found({"hostPID": false})) == 0
	count(found({"hostPID": null})) == 0
	count(found({})) == 0
}

test_only_this_field_counts if count(found({"hostNetwork": true, "hostIPC": true})) == 0

test_wrong_types_pass if {
	count(found({"hostPID": "true"})) == 0
	count(found({"hostPID": 1})) == 0
	count(found("spec")) == 0
	count(found(null)) == 0
}

test_cron_job_path if {
	spec := {"jobTemplate": {"spec": {"template": {"spec": {"hostPID": true}}}}}
	result := host_pid.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "CronJob"}}}
	some finding in result
	finding.path == ["spec", "jobTemplate", "spec", "template", "spec", "hostPID"]
}
