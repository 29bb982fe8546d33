//! The project's own policies, where they are.

use std::path::Path;

use provost_bundle::{contents, source};
use provost_model::Digest;
use provost_model::binding::Origin;

#[test]
fn the_library_reads_packs_and_loads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let source = match source::read_dir(&root) {
        Ok(source) => source,
        Err(problems) => {
            let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{}", text.join("\n"));
        }
    };
    let packed = contents::pack(&source);
    let loaded = packed.load(Origin::Bundle(Digest::of(b""))).unwrap();
    assert_eq!(loaded.policies.len(), source.bundle().policies.len());
    for policy in &loaded.policies {
        assert!(!policy.examples.is_empty(), "{} has no example", policy.meta.id);
    }
}
