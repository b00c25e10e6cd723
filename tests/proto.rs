//! The API's files: the committed code is what the proto files generate, everything in them is
//! documented, and they keep the style of `buf lint` (STANDARD and COMMENTS), so that neither
//! building nor CI needs protoc or buf.
#![cfg(feature = "client")]

use prost::Message;
use prost_types::FileDescriptorSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

const PACKAGE: &str = "askance.v1";
const FOLDER: &str = "askance/v1";
const COMMAND: &str = "ASKANCE_REGENERATE=1 cargo test --test proto";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The API's proto files, compiled, with their comments; imports first.
fn compile() -> FileDescriptorSet {
    let mut names: Vec<String> = fs::read_dir(root("proto").join(FOLDER))
        .expect("the API's folder")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".proto"))
        .map(|name| format!("{FOLDER}/{name}"))
        .collect();
    names.sort();
    let mut compiler = protox::Compiler::new([root("proto")]).unwrap();
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&names).unwrap_or_else(|error| panic!("{error:?}"));
    compiler.file_descriptor_set()
}

#[test]
fn committed_code_is_what_the_proto_files_generate() {
    let set = compile();
    let folder = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .bytes(".")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .out_dir(folder.path())
        .compile_fds(set.clone())
        .unwrap();
    let code = fs::read(folder.path().join(format!("{PACKAGE}.rs"))).unwrap();
    let mut bare = set;
    bare.file.iter_mut().for_each(|file| file.source_code_info = None);
    check_or_write("src/proto/askance.v1.rs", &code);
    check_or_write("src/proto/askance.v1.bin", &bare.encode_to_vec());
}

fn check_or_write(path: &str, generated: &[u8]) {
    if fs::read(root(path)).is_ok_and(|committed| committed == generated) {
        return;
    }
    if env::var_os("ASKANCE_REGENERATE").is_some() {
        fs::write(root(path), generated).unwrap();
    } else {
        panic!("{path} is not what proto/{FOLDER} generates; run: {COMMAND}");
    }
}
