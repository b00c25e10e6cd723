//! Layers of settings laid over each other, with every fault named by where it stands.

use super::{Config, Field};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Names the file in the environment.
pub const ENV_CONFIG: &str = "ASKANCE_CONFIG";
/// The file that is read if none is named.
const DEFAULT_FILE: &str = "askance.toml";
/// Names in the environment that are ours and no settings.
const ENV_OTHERS: [&str; 5] =
    [ENV_CONFIG, "ASKANCE_DAEMON", "ASKANCE_CACHE", "ASKANCE_SHARED", "ASKANCE_REGENERATE"];

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file named by a flag; none: by the environment, or `askance.toml` if it is there.
    pub file: Option<PathBuf>,
    /// The environment: names and values.
    pub env: Vec<(String, String)>,
    /// Flags: keys and values.
    pub flags: Vec<(String, String)>,
}

/// Which layer set a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Nobody.
    Default,
    /// The file.
    File,
    /// The environment.
    Env,
    /// A flag.
    Flag,
}

/// Settings, and where they come from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Which layer set a field; those not here have their default.
    pub origins: BTreeMap<&'static str, Origin>,
    /// What is odd, but no fault.
    pub remarks: Vec<String>,
}

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the configuration has {} fault{}",
            self.0.len(),
            if self.0.len() == 1 { "" } else { "s" }
        )?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for Faults {}

impl Sources {
    /// The environment of this process, and these flags.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        // Names and values that are not UTF-8 are nobody's settings.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { file, env: std::env::vars_os().filter_map(text).collect(), flags }
    }

    /// Reads and checks the settings.
    pub fn load(&self) -> Result<Loaded, Faults> {
        let mut layers = Layers::new();
        let named = self.file.clone().or_else(|| self.env(ENV_CONFIG).map(PathBuf::from));
        let file = named.or_else(|| Path::new(DEFAULT_FILE).exists().then(|| PathBuf::from(DEFAULT_FILE)));
        if let Some(file) = &file {
            layers.file(file);
        }
        layers.env(&self.env);
        for (key, value) in &self.flags {
            layers.set(Origin::Flag, key, value, &format!("--set {key}"));
        }
        layers.finish(file)
    }

    fn env(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// The field of this key.
fn field_of(key: &str) -> Option<&'static Field> {
    Config::fields().find(|field| field.key == key)
}

/// The known name nearest to a wrong one, if it is near enough to be meant.
fn nearest<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let near = |name: &&str| strsim::jaro_winkler(wrong, name);
    let best = names.max_by(|one, other| near(one).total_cmp(&near(other)))?;
    (near(&best) > 0.75).then_some(best)
}

fn unknown(what: &str, key: &str) -> String {
    let mut text = format!("unknown {what} `{}`", crate::detector::sentence::shown(key));
    // A field may have been put into the wrong section: its own name counts then.
    let last = key.rsplit('.').next().unwrap_or(key);
    let own = |name: &'static str| name.rsplit('.').next().unwrap_or(name);
    let elsewhere = Config::fields().map(|field| field.key).find(|name| own(name) == last);
    if let Some(name) = elsewhere.or_else(|| nearest(key, Config::fields().map(|field| field.key))) {
        text.push_str(&format!("; did you mean `{name}`?"));
    }
    text
}

struct Layers {
    config: Config,
    origins: BTreeMap<&'static str, Origin>,
    faults: Vec<String>,
    remarks: Vec<String>,
}

impl Layers {
    fn new() -> Self {
        let (config, origins) = (Config::default(), BTreeMap::new());
        Self { config, origins, faults: Vec::new(), remarks: Vec::new() }
    }

    /// Sets a field, or notes why not.
    fn set(&mut self, origin: Origin, key: &str, value: &str, place: &str) {
        let Some(field) = field_of(key) else {
            self.faults.push(format!("{place}: {}", unknown("key", key)));
            return;
        };
        match (field.set)(&mut self.config, value) {
            Ok(()) => {
                self.origins.insert(field.key, origin);
            }
            Err(why) => self.faults.push(format!("{place}: {key}: {why}")),
        }
    }

    fn file(&mut self, path: &Path) {
        let name = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(fault) => return self.faults.push(format!("cannot read {name}: {fault}")),
        };
        let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            let at = error.span().map_or(1, |span| line(span.start));
            self.faults.push(format!("{name}:{at}: {}", error.message()));
        }
        if !table.get_ref().iter().any(|(key, _)| key.get_ref() == "version") {
            self.faults.push(format!("{name}: `version = 1` is missing"));
        }
        self.table(&format!("{name}:"), &line, "", table.get_ref());
    }

    fn table(&mut self, name: &str, line: &impl Fn(usize) -> usize, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let place = format!("{name}{}", line(key.span().start));
            let key = format!("{prefix}{}", key.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) if is_section(&key) => {
                    self.table(name, line, &format!("{key}."), inner);
                }
                _ if key == "version" => self.version(&place, value),
                other => match written(other) {
                    Some(text) => self.set(Origin::File, &key, &text, &place),
                    None if field_of(&key).is_none() => {
                        self.faults.push(format!("{place}: {}", unknown("key", &key)));
                    }
                    None => self.faults.push(format!("{place}: {key}: is a {}", other.type_str())),
                },
            }
        }
    }

    fn version(&mut self, place: &str, value: &Spanned<DeValue<'_>>) {
        let found = written(value.get_ref()).unwrap_or_default();
        if found != "1" {
            self.faults.push(format!("{place}: version is {found}, this build reads 1"));
        }
    }

    fn env(&mut self, env: &[(String, String)]) {
        for (name, value) in env.iter().filter(|(name, _)| name.starts_with("ASKANCE_")) {
            if ENV_OTHERS.contains(&name.as_str()) {
                continue;
            }
            match Config::fields().find(|field| field.env_name() == *name) {
                Some(field) => self.set(Origin::Env, field.key, value, name),
                // Container platforms put names of their own there (`ASKANCE_SERVICE_HOST`): no fault.
                None => {
                    let names: Vec<String> = Config::fields().map(Field::env_name).collect();
                    let meant = nearest(name, names.iter().map(String::as_str));
                    let hint = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
                    self.remarks.push(format!("the environment has `{name}`, which is no setting{hint}"));
                }
            }
        }
    }

    fn finish(mut self, file: Option<PathBuf>) -> Result<Loaded, Faults> {
        self.faults.extend(self.config.check());
        if self.faults.is_empty() {
            Ok(Loaded { config: self.config, file, origins: self.origins, remarks: self.remarks })
        } else {
            Err(Faults(self.faults))
        }
    }
}

fn is_section(key: &str) -> bool {
    Config::fields().any(|field| field.key.split_once('.').is_some_and(|(section, _)| section == key))
}

/// A TOML value as the text that a field reads.
fn written(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(|item| written(item.get_ref())).collect();
            items.map(|items| items.join(","))
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, Faults> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        std::fs::write(&path, file).unwrap();
        let own = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        Sources { file: Some(path), env: own(env), flags: own(flags) }.load()
    }

    #[test]
    fn flags_go_before_environment_before_file_before_defaults() {
        let file = "version = 1\n[engine]\nqueue_max = 1_000\nsessions_max = 5\nsession_order = [\"gap\"]\n[log]\nballast = \"1MiB\"\n";
        let env = [("ASKANCE_ENGINE__QUEUE_MAX", "2000"), ("ASKANCE_LOG__BALLAST", "2MiB"), ("HOME", "/")];
        let loaded = load(file, &env, &[("log.ballast", "3MiB")]).unwrap();
        let config = &loaded.config;
        assert_eq!((config.engine.sessions_max, config.engine.queue_max), (5, 2_000));
        assert_eq!(config.log.ballast.0, 3 << 20);
        assert_eq!(config.engine.partitions, 1);
        assert_eq!(loaded.origins["log.ballast"], Origin::Flag);
        assert_eq!(loaded.origins["engine.queue_max"], Origin::Env);
        assert_eq!(loaded.origins["engine.sessions_max"], Origin::File);
    }

    #[test]
    fn every_fault_of_a_file_is_told_with_its_line_and_the_nearest_name() {
        let file = "version = 2\n[server]\nlisen = \"127.0.0.1:1\"\nqueue_max = 5\n[engine]\nmode = \"observ\"\nsession_idle = 10\n[serer]\nx = 1\n[log]\nwrite_buffer = \"1KiB\"\n";
        let Faults(faults) = load(file, &[], &[]).unwrap_err();
        let text = faults.join("\n");
        for part in [
            ":1: version is 2, this build reads 1",
            ":3: unknown key `server.lisen`; did you mean `server.listen`?",
            ":4: unknown key `server.queue_max`; did you mean `engine.queue_max`?",
            ":6: engine.mode: `observ` is none of enforce, observe",
            ":7: engine.session_idle: `10` needs a whole number and a unit",
            ":8: unknown key `serer`",
            "log.write_buffer: 1KiB is too little, at least 4MiB",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert_eq!(faults.len(), 7, "{text}");
    }

    #[test]
    fn a_file_needs_its_version_and_must_be_there() {
        let Faults(faults) = load("", &[], &[]).unwrap_err();
        assert!(faults[0].contains("`version = 1` is missing"), "{faults:?}");
        let missing = Sources { file: Some(PathBuf::from("/nowhere/a.toml")), ..Sources::default() };
        assert!(missing.load().unwrap_err().0[0].starts_with("cannot read /nowhere/a.toml"));
        let Faults(faults) = load("version = 1\n[log\n", &[], &[]).unwrap_err();
        assert!(faults[0].contains(":2:"), "{faults:?}");
    }

    #[test]
    fn a_strange_name_in_the_environment_is_a_remark() {
        let env =
            [("ASKANCE_SERVICE_HOST", "10.0.0.1"), ("ASKANCE_SERVER__LISTN", "x"), ("ASKANCE_DAEMON", "y")];
        let loaded = load("version = 1\n", &env, &[]).unwrap();
        assert_eq!(loaded.remarks.len(), 2, "{:?}", loaded.remarks);
        assert!(loaded.remarks[1].contains("did you mean `ASKANCE_SERVER__LISTEN`?"), "{:?}", loaded.remarks);
    }
}
