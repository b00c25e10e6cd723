//! `.ci/setup` on machines that are not this one: a fake package manager says what it was asked for.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the set-up with `tools` as its only package managers and no libclang in sight.
fn set_up(dir: &Path, tools: &[(&str, &str)]) -> Output {
    let bin = dir.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let script = |name: &str, text: &str| {
        let path = bin.join(name);
        std::fs::write(&path, format!("#!/bin/bash\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    for (name, text) in tools {
        script(name, text);
    }
    for name in ["cargo", "cc", "c++"] {
        script(name, "exit 0");
    }
    for name in ["bash", "env", "sed", "sort", "tail"] {
        let found = ["/usr/bin", "/bin"].map(|place| Path::new(place).join(name));
        let real = found.iter().find(|path| path.exists()).unwrap();
        std::os::unix::fs::symlink(real, bin.join(name)).unwrap();
    }
    Command::new("/bin/bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/setup"))
        .env_clear()
        .env("PATH", &bin)
        .env("ASKANCE_LIBCLANG_DIRS", dir.join("nothing"))
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn debian_gets_the_two_small_packages() {
    let dir = tempfile::tempdir().unwrap();
    let asked = dir.path().join("asked");
    let apt = format!("echo \"$@\" >> {}", asked.display());
    let output = set_up(dir.path(), &[("apt-get", &apt), ("apt-cache", "exit 0"), ("id", "echo 0")]);
    assert!(output.status.success(), "{}", said(&output));
    let asked = std::fs::read_to_string(asked).unwrap();
    let install = asked.lines().find(|line| line.contains("libclang1-14 libclang-common-14-dev"));
    let install = install.unwrap_or_else(|| panic!("{asked}"));
    assert!(
        install.contains("--no-install-recommends") && install.contains("DPkg::Lock::Timeout=300"),
        "{asked}"
    );
}

#[test]
fn a_newer_debian_gets_its_own_version() {
    let dir = tempfile::tempdir().unwrap();
    let asked = dir.path().join("asked");
    let apt = format!("echo \"$@\" >> {}", asked.display());
    let cache = "[[ $1 == search ]] && printf 'libclang1-17 - C\\nlibclang1-19 - C\\n' || exit 1";
    let output = set_up(dir.path(), &[("apt-get", &apt), ("apt-cache", cache), ("id", "echo 0")]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(std::fs::read_to_string(asked).unwrap().contains("libclang1-19 libclang-common-19-dev"));
}

#[test]
fn others_are_told_what_to_install() {
    for (manager, package) in [("dnf", "clang-devel"), ("pacman", "pacman -S clang"), ("apk", "clang-libs")] {
        let dir = tempfile::tempdir().unwrap();
        let output = set_up(dir.path(), &[(manager, "exit 0"), ("id", "echo 0")]);
        assert!(!output.status.success());
        assert!(said(&output).contains(package), "{}", said(&output));
    }
    let dir = tempfile::tempdir().unwrap();
    let output = set_up(dir.path(), &[("apt-get", "exit 0"), ("apt-cache", "exit 0"), ("id", "echo 1000")]);
    assert!(!output.status.success() && said(&output).contains("as root"), "{}", said(&output));
}
