//! Compiles the .proto files in pure Rust, so that no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["provost/v1/session.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".provost.v1")
        .btree_map(".provost.v1")
        .compile_fds(files)?;
    Ok(())
}
