//! Embeds the policy library: what `policies/` needs to evaluate, without its tests and examples.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../policies").canonicalize()?;
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    let mut source = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&root).map_err(io::Error::other)?.to_string_lossy();
        // Writing to a String cannot fail.
        let _ =
            writeln!(source, "    ({name:?}, include_bytes!({:?})),", file.display().to_string());
    }
    source.push(']');
    #[allow(clippy::disallowed_methods, reason = "cargo tells a build script its folder so")]
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("library.rs"), source)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            // Cargo watches a folder by the times of what is in it, so each is named.
            println!("cargo::rerun-if-changed={}", path.display());
            if name != "examples" {
                collect(&path, files)?;
            }
        } else if name.ends_with(".rego") && !name.ends_with("_test.rego") || is_binding(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_binding(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml")
        && path.parent().and_then(Path::file_name).is_some_and(|folder| folder == "bindings")
}
