//! The API's files: the committed code is what the proto files generate, everything in them is
//! documented, and they keep the style of `buf lint` (STANDARD and COMMENTS), so that neither
//! building nor CI needs protoc or buf.
#![cfg(feature = "client")]

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use prost_types::{FieldDescriptorProto, ServiceDescriptorProto};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::{env, fs};

const PACKAGE: &str = "askance.v1";
const FOLDER: &str = "askance/v1";
const COMMAND: &str = "ASKANCE_REGENERATE=1 cargo test --test proto";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The proto files of askance.v1 under this folder, compiled with comments; imports included.
fn compile(include: &Path) -> FileDescriptorSet {
    let mut names: Vec<String> = fs::read_dir(include.join(FOLDER))
        .expect("the API's folder")
        .map(|entry| entry.expect("a folder entry").file_name().into_string().expect("a name in UTF-8"))
        .filter(|name| name.ends_with(".proto"))
        .map(|name| format!("{FOLDER}/{name}"))
        .collect();
    names.sort();
    let mut compiler = protox::Compiler::new([include]).expect("a folder of proto files");
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&names).expect("proto files that compile");
    compiler.file_descriptor_set()
}

#[test]
fn committed_code_is_what_the_proto_files_generate() {
    let set = compile(&root("proto"));
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
    let is_wanted = env::var_os("ASKANCE_REGENERATE").is_some();
    assert!(is_wanted, "{path} is not what proto/{FOLDER} generates; run: {COMMAND}");
    fs::write(root(path), generated).expect("to write the generated file");
}

#[test]
fn descriptor_for_reflection_holds_every_service_and_import() {
    let set = FileDescriptorSet::decode(askance::proto::FILE_DESCRIPTOR_SET).unwrap();
    let names: HashSet<&str> = set.file.iter().map(FileDescriptorProto::name).collect();
    for file in &set.file {
        for import in &file.dependency {
            assert!(names.contains(import.as_str()), "{} imports {import}, which is missing", file.name());
        }
    }
    let services = set.file.iter().flat_map(|file| &file.service).count();
    assert_eq!(services, 8);
}

#[test]
fn every_item_is_documented_and_in_style() {
    let faults = faults(&compile(&root("proto")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn event_types_carry_the_numbers_of_the_event_fields() {
    let set = compile(&root("proto"));
    let file = set.file.iter().find(|file| file.name() == "askance/v1/event.proto").unwrap();
    let event = file.message_type.iter().find(|message| message.name() == "Event").unwrap();
    let data = event.oneof_decl.iter().position(|oneof| oneof.name() == "data").unwrap();
    let mut fields: Vec<(String, i32)> = event
        .field
        .iter()
        .filter(|field| field.oneof_index == i32::try_from(data).ok())
        .map(|field| (format!("EVENT_TYPE_{}", field.name().to_uppercase()), field.number()))
        .collect();
    fields.insert(0, ("EVENT_TYPE_UNSPECIFIED".to_owned(), 0));
    let types = file.enum_type.iter().find(|kind| kind.name() == "EventType").unwrap();
    let values: Vec<(String, i32)> =
        types.value.iter().map(|value| (value.name().to_owned(), value.number())).collect();
    assert_eq!(fields, values);
}

/// The control: a file that breaks each rule is told off for each.
#[test]
fn faulty_files_are_found() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join(FOLDER)).unwrap();
    fs::write(folder.path().join(FOLDER).join("Bad-Name.proto"), FAULTY).unwrap();
    let mut found = faults(&compile(folder.path()));
    found.sort();
    let mut expected = [
        "askance/v1/Bad-Name.proto: the file name is not lower_snake_case",
        "askance/v1/Bad-Name.proto: unused import google/protobuf/duration.proto",
        "askance.v1.Ping: the service name does not end in Service",
        "askance.v1.Ping.send: the RPC name is not PascalCase",
        "askance.v1.Ping.send: the request is not sendRequest, or is used twice",
        "askance.v1.Ping.send: the response is not sendResponse, or is used twice",
        "askance.v1.bad_message: the name is not PascalCase",
        "askance.v1.bad_message: no comment",
        "askance.v1.bad_message.badField: the name is not lower_snake_case",
        "askance.v1.bad_message.start_time: a field *_time is not a Timestamp",
        "askance.v1.bad_message.Choice: the name is not lower_snake_case",
        "askance.v1.bad_message.Choice: no comment",
        "askance.v1.bad_message.Kind.ONE: the value has no prefix KIND_",
        "askance.v1.bad_message.Kind.ONE: no comment",
        "askance.v1.bad_message.Kind.ONE: the zero value is not KIND_UNSPECIFIED",
        "askance.v1.bad_message.Kind: an alias is allowed",
        "askance.v1.bad_message.Kind.kind_two: the value has no prefix KIND_",
        "askance.v1.bad_message.Kind.kind_two: the value is not UPPER_SNAKE_CASE",
    ];
    expected.sort();
    assert_eq!(found, expected);
}

const FAULTY: &str = r#"
syntax = "proto3";
package askance.v1;
import "google/protobuf/duration.proto";
// A service.
service Ping {
  // An RPC.
  rpc send(bad_message) returns (bad_message);
}
message bad_message {
  // A field.
  string badField = 1;
  // A time.
  optional int64 start_time = 2;
  oneof Choice {
    // A field.
    string one = 3;
  }
  // An enum.
  enum Kind {
    option allow_alias = true;
    ONE = 0;
    // A value.
    kind_two = 0;
  }
}
"#;

/// Whatever breaks a rule in the files of the package, one sentence each.
fn faults(set: &FileDescriptorSet) -> Vec<String> {
    let mut check = Check { faults: Vec::new(), comments: HashMap::new(), rpc_types: HashSet::new() };
    for file in set.file.iter().filter(|file| file.package() == PACKAGE) {
        check.file(file, set);
    }
    check.faults
}

struct Check {
    faults: Vec<String>,
    /// Leading comments of the file at hand, by descriptor path.
    comments: HashMap<Vec<i32>, String>,
    /// Requests and responses seen so far.
    rpc_types: HashSet<String>,
}

impl Check {
    fn file(&mut self, file: &FileDescriptorProto, set: &FileDescriptorSet) {
        let info = file.source_code_info.iter().flat_map(|info| &info.location);
        self.comments = info
            .filter_map(|location| Some((location.path.clone(), location.leading_comments.clone()?)))
            .collect();
        let stem = file.name().strip_prefix(FOLDER).unwrap_or("").trim_start_matches('/');
        self.demand(
            is_lower_snake(stem.trim_end_matches(".proto")),
            file.name(),
            "the file name is not lower_snake_case",
        );
        self.demand(file.syntax() == "proto3", file.name(), "the syntax is not proto3");
        self.demand(
            file.public_dependency.is_empty() && file.weak_dependency.is_empty(),
            file.name(),
            "a public or weak import",
        );
        self.imports(file, set);
        for (index, message) in (0..).zip(&file.message_type) {
            self.message(message, PACKAGE, vec![4, index]);
        }
        for (index, kind) in (0..).zip(&file.enum_type) {
            self.enumeration(kind, PACKAGE, &[5, index]);
        }
        for (index, service) in (0..).zip(&file.service) {
            self.service(service, &[6, index]);
        }
    }

    fn imports(&mut self, file: &FileDescriptorProto, set: &FileDescriptorSet) {
        let mut used = HashSet::new();
        file.message_type.iter().for_each(|message| types_of(message, &mut used));
        for method in file.service.iter().flat_map(|service| &service.method) {
            used.insert(method.input_type().to_owned());
            used.insert(method.output_type().to_owned());
        }
        for import in &file.dependency {
            let imported = set.file.iter().find(|other| other.name() == import).expect("an import");
            let messages = imported.message_type.iter().map(DescriptorProto::name);
            let enums = imported.enum_type.iter().map(EnumDescriptorProto::name);
            let is_used =
                messages.chain(enums).any(|name| used.contains(&format!(".{}.{name}", imported.package())));
            self.demand(is_used, file.name(), &format!("unused import {import}"));
        }
    }

    fn message(&mut self, message: &DescriptorProto, scope: &str, path: Vec<i32>) {
        let name = format!("{scope}.{}", message.name());
        self.comment(&path, &name);
        self.demand(is_pascal(message.name()), &name, "the name is not PascalCase");
        let mut synthetic = HashSet::new();
        for (index, field) in (0..).zip(&message.field) {
            if field.proto3_optional() {
                synthetic.insert(field.oneof_index());
            }
            self.field(field, &name, &below(&path, 2, index));
        }
        for (index, nested) in (0..).zip(&message.nested_type) {
            let is_map = nested.options.as_ref().is_some_and(|options| options.map_entry());
            if !is_map {
                self.message(nested, &name, below(&path, 3, index));
            }
        }
        for (index, kind) in (0..).zip(&message.enum_type) {
            self.enumeration(kind, &name, &below(&path, 4, index));
        }
        for (index, oneof) in (0..).zip(&message.oneof_decl) {
            if !synthetic.contains(&index) {
                let name = format!("{name}.{}", oneof.name());
                self.comment(&below(&path, 8, index), &name);
                self.demand(is_lower_snake(oneof.name()), &name, "the name is not lower_snake_case");
            }
        }
    }

    fn field(&mut self, field: &FieldDescriptorProto, scope: &str, path: &[i32]) {
        let name = format!("{scope}.{}", field.name());
        self.comment(path, &name);
        self.demand(is_lower_snake(field.name()), &name, "the name is not lower_snake_case");
        if field.name().ends_with("_time") {
            let is_time = field.type_name() == ".google.protobuf.Timestamp";
            self.demand(is_time, &name, "a field *_time is not a Timestamp");
        }
    }

    fn enumeration(&mut self, kind: &EnumDescriptorProto, scope: &str, path: &[i32]) {
        let name = format!("{scope}.{}", kind.name());
        let prefix = format!("{}_", upper_snake(kind.name()));
        self.comment(path, &name);
        self.demand(is_pascal(kind.name()), &name, "the name is not PascalCase");
        let has_alias = kind.options.as_ref().is_some_and(|options| options.allow_alias());
        self.demand(!has_alias, &name, "an alias is allowed");
        for (index, value) in (0..).zip(&kind.value) {
            let name = format!("{name}.{}", value.name());
            self.comment(&below(path, 2, index), &name);
            self.demand(
                value.name().starts_with(&prefix),
                &name,
                &format!("the value has no prefix {prefix}"),
            );
            self.demand(is_upper_snake(value.name()), &name, "the value is not UPPER_SNAKE_CASE");
            let zero = format!("{prefix}UNSPECIFIED");
            let is_right = index > 0 || (value.number() == 0 && value.name() == zero);
            self.demand(is_right, &name, &format!("the zero value is not {zero}"));
        }
    }

    fn service(&mut self, service: &ServiceDescriptorProto, path: &[i32]) {
        let name = format!("{PACKAGE}.{}", service.name());
        self.comment(path, &name);
        self.demand(is_pascal(service.name()), &name, "the name is not PascalCase");
        self.demand(service.name().ends_with("Service"), &name, "the service name does not end in Service");
        for (index, method) in (0..).zip(&service.method) {
            let name = format!("{name}.{}", method.name());
            self.comment(&below(path, 2, index), &name);
            self.demand(is_pascal(method.name()), &name, "the RPC name is not PascalCase");
            let both =
                [("request", "Request", method.input_type()), ("response", "Response", method.output_type())];
            for (role, suffix, used) in both {
                let standard = format!("{}{suffix}", method.name());
                let is_right =
                    self.rpc_types.insert(used.to_owned()) && used == format!(".{PACKAGE}.{standard}");
                self.demand(is_right, &name, &format!("the {role} is not {standard}, or is used twice"));
            }
        }
    }

    fn comment(&mut self, path: &[i32], name: &str) {
        let has_text = self.comments.get(path).is_some_and(|comment| !comment.trim().is_empty());
        self.demand(has_text, name, "no comment");
    }

    fn demand(&mut self, holds: bool, name: &str, fault: &str) {
        if !holds {
            self.faults.push(format!("{name}: {fault}"));
        }
    }
}

fn types_of(message: &DescriptorProto, used: &mut HashSet<String>) {
    used.extend(message.field.iter().map(|field| field.type_name().to_owned()));
    message.nested_type.iter().for_each(|nested| types_of(nested, used));
}

fn below(path: &[i32], kind: i32, index: i32) -> Vec<i32> {
    path.iter().copied().chain([kind, index]).collect()
}

fn is_lower_snake(name: &str) -> bool {
    is_snake(name, |letter| letter.is_ascii_lowercase())
}

fn is_upper_snake(name: &str) -> bool {
    is_snake(name, |letter| letter.is_ascii_uppercase())
}

fn is_snake(name: &str, is_letter: impl Fn(char) -> bool) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| is_letter(c) || c.is_ascii_digit());
    name.starts_with(&is_letter) && name.split('_').all(is_word)
}

fn is_pascal(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
}

fn upper_snake(pascal: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in pascal.chars().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_uppercase());
    }
    snake
}
