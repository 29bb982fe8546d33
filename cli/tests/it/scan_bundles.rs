//! `provost scan --policy BUNDLE`: what is used of a bundle that was built, and what is refused.

use std::fs;

use crate::program::{provost, write};
use crate::trust::{fleet, good, signed_bundle, signed_root};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {hostNetwork: true}\n";
const UNCHECKED: &str = "warning: the signatures of b were not checked: give --root root.json\n";

#[test]
fn signatures_are_checked_where_a_root_is_given_and_otherwise_told_once() {
    let folder = fleet();
    let path = folder.path();
    signed_root(path);
    signed_bundle(path);
    write(path, "app/pod.yaml", format!("{POD}---\n{POD}"));
    let scan = |more: &[&str]| {
        let said = provost(path, &[&["scan", "-o", "jsonl", "app"], more].concat(), "");
        (said.code, said.lines().len(), said.err)
    };
    assert_eq!(scan(&["--policy", "b"]), (1, 2, UNCHECKED.to_owned()));
    assert_eq!(scan(&["--policy", "b", "--root", "root.json"]), (1, 2, String::new()));
    write(path, ".provost.yaml", "policies: [b]\nroot: root.json\n");
    assert_eq!(scan(&[]), (1, 2, String::new()));
    assert_eq!(scan(&["--policy", "policies"]), (1, 2, String::new()));
    fs::remove_file(path.join(".provost.yaml")).unwrap();

    let (code, _, err) = scan(&["--policy", "policies", "--root", "root.json"]);
    assert!(code == 2 && err.contains("no bundle to check"), "{code} {err}");
    let (code, _, err) = scan(&["--policy", "b", "--root", "nowhere.json"]);
    assert!(code == 2 && err.contains("nowhere.json does not exist"), "{code} {err}");

    // Another root does not know who signed.
    let other = fleet();
    signed_root(other.path());
    let stranger = other.path().join("root.json");
    let (code, findings, err) = scan(&["--policy", "b", "--root", stranger.to_str().unwrap()]);
    assert_eq!((code, findings), (3, 0), "{err}");
    assert!(err.contains("b is no usable bundle") && err.contains("signatures"), "{err}");
}

#[test]
fn an_altered_bundle_is_refused_with_or_without_a_root() {
    let folder = fleet();
    let path = folder.path();
    signed_root(path);
    signed_bundle(path);
    write(path, "pod.yaml", POD);
    let blob = fs::read_dir(path.join("b/blobs")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    fs::write(&blob, bytes).unwrap();
    for more in [&[][..], &["--root", "root.json"]] {
        let args = [&["scan", "--policy", "b", "pod.yaml"], more].concat();
        let said = provost(path, &args, "");
        assert_eq!((said.code, said.out.as_str()), (3, ""), "{}", said.err);
        assert!(said.err.contains("provost bundle verify b"), "{}", said.err);
    }
    good(path, &["bundle", "inspect", "b"]);
}
