//! Properties that hold for any files.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use provost_bundle::{Contents, contents, source};
use provost_model::Digest;
use provost_model::binding::Origin;

use crate::tree::Tree;

const PATHS: [&str; 10] = [
    "pods/privileged/policy.rego",
    "pods/privileged/policy_test.rego",
    "pods/privileged/metadata.json",
    "pods/privileged/examples/pass/two.yaml",
    "pods/privileged/examples/pass/two.json",
    "pods/privileged/examples/pass/two.input.yaml",
    "bindings/edge.yaml",
    "bindings/privileged.json",
    "lib/pods.rego",
    "lib/pods_test.rego",
];

proptest! {
    /// Whatever stands in a file: it is read or told about, in a tree and in a built bundle.
    #[test]
    fn no_file_makes_a_reader_panic(
        path in prop::sample::select(&PATHS[..]),
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..120),
            "[#a-z:{}\\[\\]&*!|>\"'\n -]{0,120}".prop_map(String::into_bytes),
        ],
    ) {
        let bytes = Bytes::from(bytes);
        let files = BTreeMap::from([(path.to_owned(), bytes.clone())]);
        let _ = source::from_files("tree", &files);
        let mut built = contents::pack(&Tree::new().read().unwrap());
        built.files.insert(path.to_owned(), bytes);
        let _ = built.load(Origin::Bundle(Digest::of(b"")));
    }

    /// One byte of a tree is changed: if it still reads, it packs and loads as it reads.
    #[test]
    fn what_reads_packs_and_loads(
        path in prop::sample::select(&PATHS[..]),
        at in any::<prop::sample::Index>(),
        with in prop::char::range(' ', '~'),
    ) {
        let tree = Tree::new();
        prop_assume!(tree.text(path).is_some());
        let mut text: Vec<char> = tree.text(path).unwrap().chars().collect();
        let at = at.index(text.len());
        text[at] = with;
        let tree = tree.with(path, &text.into_iter().collect::<String>());
        if let Ok(source) = tree.read() {
            let packed = contents::pack(&source);
            let loaded = packed.load(Origin::Bundle(Digest::of(b"")));
            prop_assert!(loaded.is_ok(), "{:?}", loaded.err());
            prop_assert_eq!(Contents::of(&loaded.unwrap()), packed);
        }
    }
}
