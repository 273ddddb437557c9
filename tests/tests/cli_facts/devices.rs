//! `halovae devices`.

use halovae_tests::binary;
use serde_json::Value;

/// Both ways of telling have the same devices, in the same order.
#[test]
fn devices_are_told_as_text_and_as_json() {
    let text = binary::run(["devices"]).expect_success().stdout;
    let json = binary::run(["devices", "--json"]).expect_success().stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let devices = json["devices"].as_array().expect("devices");
    let first_lines: Vec<&str> = text.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(first_lines.len(), devices.len(), "{text}{json:#}");
    for (line, device) in first_lines.iter().zip(devices) {
        let (backend, what) = line.split_once(' ').expect("a backend and what it is");
        assert_eq!(device["backend"], backend, "{device:#}");
        assert_eq!(device["what"], what.trim(), "{device:#}");
    }
    let cpu = &devices[0];
    assert_eq!((&cpu["backend"], &cpu["is_there"]), (&"cpu".into(), &true.into()), "{cpu:#}");
    assert!(cpu["properties"]["threads"].is_string(), "{cpu:#}");
}
