package provost.pods.host_ipc_test

import data.provost.pods.host_ipc

found(spec) := result if {
	result := host_ipc.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "Pod"}}}
}

test_true_violates if {
	some finding in found({"hostIPC": true})
	finding.path == ["spec", "hostIPC"]
	finding.patch == [{"op": "replace", "path": "/spec/hostIPC", "value": false}]
}

test_false_null_and_missing_pass if {
	count(found({"hostIPC": false})) == 0
	count(found({"hostIPC": null})) == 0
	count(found({})) == 0
}

test_only_this_field_counts if count(found({"hostNetwork": true, "hostPID": true})) == 0

test_wrong_types_pass if {
	count(found({"hostIPC": "true"})) == 0
	count(found({"hostIPC": 1})) == 0
	count(found("spec")) == 0
	count(found(null)) == 0
}

test_cron_job_path if {
	spec := {"jobTemplate": {"spec": {"template": {"spec": {"hostIPC": true}}}}}
	result := host_ipc.violation with input as {"review": {"object": {"spec": spec}, "kind": {"kind": "CronJob"}}}
	some finding in result
	finding.path == ["spec", "jobTemplate", "spec", "template", "spec", "hostIPC"]
}
