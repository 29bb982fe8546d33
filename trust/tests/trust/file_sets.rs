//! The files of a bundle: exactly those listed, byte for byte, under safe paths.

use std::collections::BTreeMap;

use provost_model::limits::{MAX_BLOB_BYTES, MAX_BUNDLE_FILES};
use provost_model::{Code, Digest};
use provost_trust::files::{self, FileCheck, FileEntry, FileKind, check_entries, check_path};
use provost_trust::manifest;

use crate::fleet::{FILES, manifest as good, signed_manifest, trusted};

fn files() -> BTreeMap<String, Vec<u8>> {
    FILES.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

fn refusal(files: BTreeMap<String, Vec<u8>>) -> Code {
    let manifest = manifest::verify(&trusted(), &signed_manifest(&good())).unwrap();
    files::verify(&manifest, files).map(|_| panic!("accepted")).unwrap_err().code()
}

#[test]
fn exactly_the_files_listed_are_accepted() {
    let manifest = manifest::verify(&trusted(), &signed_manifest(&good())).unwrap();
    let verified = files::verify(&manifest, files()).unwrap();
    assert_eq!(verified.digest(), manifest.digest());
    assert_eq!(*verified, files());

    let mut more = files();
    more.insert("pods/x/extra.rego".to_owned(), Vec::new());
    assert_eq!(refusal(more), Code::FileUnexpected);

    let mut fewer = files();
    fewer.pop_first();
    assert_eq!(refusal(fewer), Code::FileMissing);

    for position in 0..FILES[0].1.len() {
        let mut altered = files();
        altered.get_mut(FILES[0].0).unwrap()[position] ^= 1;
        assert_eq!(refusal(altered), Code::DigestMismatch);
    }

    let mut longer = files();
    longer.get_mut(FILES[0].0).unwrap().push(b' ');
    assert_eq!(refusal(longer), Code::TooLarge);

    let mut shorter = files();
    shorter.get_mut(FILES[0].0).unwrap().pop();
    assert_eq!(refusal(shorter), Code::DigestMismatch);

    let mut swapped = files();
    let first = swapped[FILES[0].0].clone();
    let second = swapped.insert(FILES[1].0.to_owned(), first).unwrap();
    swapped.insert(FILES[0].0.to_owned(), second);
    assert_eq!(refusal(swapped), Code::DigestMismatch);
}

#[test]
fn a_stream_is_cut_where_it_passes_its_declared_size() {
    let entry = &good().files[0];
    let mut check = FileCheck::new(entry);
    for chunk in FILES[0].1.as_bytes().chunks(5) {
        check.update(chunk).unwrap();
    }
    check.finish().unwrap();

    let mut check = FileCheck::new(entry);
    check.update(FILES[0].1.as_bytes()).unwrap();
    assert_eq!(check.update(b"x").unwrap_err().code(), Code::TooLarge);

    let mut check = FileCheck::new(entry);
    check.update(b"package").unwrap();
    assert_eq!(check.finish().unwrap_err().code(), Code::DigestMismatch);
}

#[test]
fn unsafe_paths_are_refused() {
    for path in ["a.rego", "pods/x/policy.rego", "a/b/c/d.json", "caf\u{e9}.json", "a-b_c.1.rego"] {
        check_path(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    for path in [
        "",
        "/etc/passwd.json",
        "../x.rego",
        "a/../x.rego",
        "a/./x.rego",
        "./x.rego",
        "a//x.rego",
        "a/",
        "a\\x.rego",
        "C:x.rego",
        "a\0.rego",
        "a\n.rego",
        "a\u{202e}oger.rego",
        "a\u{1b}[2J.rego",
        "cafe\u{301}.json",
        "a /x.rego",
        " a/x.rego",
        "a./x.rego",
        "x.yaml",
        "x.sh",
        "x",
        ".rego",
        "a/.json",
        "x.rego.",
        &format!("{}.rego", "a".repeat(251)),
    ] {
        let error = check_path(path).expect_err(path);
        assert_eq!(error.code(), Code::UnsafePath, "{path}");
    }
}

fn entry(path: &str, size: usize) -> FileEntry {
    FileEntry {
        path: path.to_owned(),
        size: size as u64,
        sha256: Digest::of(path.as_bytes()),
        kind: FileKind::Policy,
    }
}

#[test]
fn a_list_is_sorted_bounded_and_without_twins() {
    check_entries(&[entry("a.rego", 1), entry("b.rego", MAX_BLOB_BYTES)]).unwrap();
    for (name, entries, code) in [
        ("unsorted", vec![entry("b.rego", 1), entry("a.rego", 1)], Code::Malformed),
        ("twice", vec![entry("a.rego", 1), entry("a.rego", 1)], Code::UnsafePath),
        ("twice but for case", vec![entry("A.rego", 1), entry("a.rego", 1)], Code::UnsafePath),
        ("large file", vec![entry("a.rego", MAX_BLOB_BYTES + 1)], Code::TooLarge),
        ("path", vec![entry("../a.rego", 1)], Code::UnsafePath),
    ] {
        assert_eq!(check_entries(&entries).expect_err(name).code(), code, "{name}");
    }
    let many = |count: usize, size: usize| -> Vec<FileEntry> {
        (0..count).map(|n| entry(&format!("{n:05}.rego"), size)).collect()
    };
    check_entries(&many(MAX_BUNDLE_FILES, 1)).unwrap();
    assert_eq!(check_entries(&many(MAX_BUNDLE_FILES + 1, 1)).unwrap_err().code(), Code::TooLarge);
    check_entries(&many(16, MAX_BLOB_BYTES)).unwrap();
    assert_eq!(check_entries(&many(17, MAX_BLOB_BYTES)).unwrap_err().code(), Code::TooLarge);
}

#[test]
fn a_content_digest_says_path_size_and_digest_and_no_more() {
    let entries = good().files;
    let digest = files::content_digest(&entries);
    let mut other_order = entries.clone();
    other_order.reverse();
    assert_eq!(files::content_digest(&other_order), digest);
    for change in [
        (|entry: &mut FileEntry| entry.path.push('x')) as fn(&mut FileEntry),
        |entry| entry.size += 1,
        |entry| entry.sha256 = Digest::of(b"other"),
    ] {
        let mut changed = entries.clone();
        change(&mut changed[0]);
        assert_ne!(files::content_digest(&changed), digest);
    }
}
