//! Scenario: a hub with simulated agents and a real one, measured. Guarantee: every record that was asked for was
//! made, sent and acknowledged, and every figure was measured; how large they are is not tested.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn a_fleet_is_measured_whole() {
    let program = Path::new(env!("CARGO_BIN_EXE_provost"));
    if !crate::demo::are_daemons_built(program) {
        return;
    }
    let arguments =
        ["bench", "fleet", "--agents", "2", "--records", "30", "--objects", "10", "-o", "json"];
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["records"], 60, "{report}");
    assert_eq!(report["agents"], 2, "{report}");
    for figure in [
        "ingestRecordsPerSecond",
        "hubResidentBytes",
        "encodedBytesPerRecord",
        "wireBytesPerRecordUp",
        "bundleToActiveRealMs",
    ] {
        assert!(report[figure].as_f64().is_some_and(|value| value > 0.0), "{figure}: {report}");
    }
    let spread = &report["bundleToActiveMs"];
    assert!(spread["first"].as_u64() <= spread["last"].as_u64(), "{report}");
}
