//! Which site is spoken to, and as whom: flags, environment, config file.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use crate::{
    cli::OutputArgs,
    failure::Failure,
    output::{self, Cell, Format, View},
};

/// Flags that every command takes.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetArgs {
    /// The API's base URL, over EDGESTACK_URL and the config file.
    #[arg(long, global = true, value_name = "URL", help_heading = "Site")]
    pub url: Option<String>,
    /// A file that holds the API token, over EDGESTACK_TOKEN and the config file.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Site", value_hint = clap::ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// The certificate (PEM) of the site's own CA, which counts instead of the public ones; over EDGESTACK_CA_FILE
    /// and the config file.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Site", value_hint = clap::ValueHint::FilePath)]
    pub ca_file: Option<PathBuf>,
}

/// `edgectl config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Shows the site's URL, token, NATS URL and CA file in effect, and where each comes from.
    #[command(after_help = "Example:\n  edgectl config view -o json")]
    View(OutputArgs),
}

/// Why no site is known.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither file nor environment.
    #[error(
        "no site is configured: {} does not exist; run deploy/quickstart, or set EDGESTACK_URL and EDGESTACK_TOKEN", path.display()
    )]
    Missing {
        /// Where the config file would be.
        path: PathBuf,
    },
    /// One of the two is there.
    #[error("no {what} is configured; set {variable}, or put \"{what}\" in {}", path.display())]
    Incomplete {
        /// `url` or `token`.
        what: &'static str,
        /// The environment variable for it.
        variable: &'static str,
        /// The config file.
        path: PathBuf,
    },
    /// The file is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what quickstart writes.
    #[error("{} is not the JSON object {{\"url\", \"token\", \"nats_url\"}}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The CA file cannot be read.
    #[error("cannot read the CA file {path} (from {from}); name the right one with --ca-file or EDGESTACK_CA_FILE")]
    CaUnreadable {
        /// Which.
        path: String,
        /// `--ca-file`, `EDGESTACK_CA_FILE`, or the config file's path.
        from: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The CA file is of another kind.
    #[error(
        "the CA file {path} (from {from}) holds no certificate; it must be PEM text with -----BEGIN CERTIFICATE-----, from the site or its CA"
    )]
    CaWithoutCertificate {
        /// Which.
        path: String,
        /// From where.
        from: String,
    },
    /// Not http(s).
    #[error("{url:?} (from {from}) is not an http:// or https:// URL")]
    Url {
        /// What came.
        url: String,
        /// From where.
        from: String,
    },
}

/// A setting and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its value.
    pub value: String,
    /// `--url`, `EDGESTACK_URL` and the like, or the config file's path.
    pub from: String,
}

/// What is in effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// The API.
    pub url: Option<Setting>,
    /// The bearer token.
    pub token: Option<Setting>,
    /// The site's NATS.
    pub nats_url: Option<Setting>,
    /// The path of the CA's certificate; the public CAs count if absent.
    pub ca_file: Option<Setting>,
    /// Where the config file is or would be.
    pub path: PathBuf,
}

/// The config file, as `edgestackd` writes it (`client.json`) and `deploy/quickstart` copies it. Further fields are others' business.
#[derive(Debug, Default, Deserialize)]
struct FileContent {
    url: Option<String>,
    token: Option<String>,
    nats_url: Option<String>,
    ca_file: Option<String>,
}

/// Environment variables by name; a parameter so that tests need not change the process's own.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's environment; an empty variable is as good as none.
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Effective {
    /// Looks in flags, environment and file, in this order, for each setting by itself.
    ///
    /// # Errors
    /// A file that is there but cannot be used.
    pub fn load(target: &TargetArgs, env: Env<'_>) -> Result<Self, ConfigError> {
        let path = file_path(env);
        let file = read(&path)?;
        let path_text = path.display().to_string();
        let of = |value: Option<String>, from: &str| value.map(|value| Setting { value, from: from.to_owned() });
        let token_from_file = match &target.token_file {
            Some(file) => Some(Setting {
                value: fs::read_to_string(file)
                    .map_err(|source| ConfigError::Unreadable { path: file.clone(), source })?
                    .trim()
                    .to_owned(),
                from: file.display().to_string(),
            }),
            None => None,
        };
        let ca_flag = target.ca_file.as_ref().map(|file| file.display().to_string());
        Ok(Self {
            url: of(target.url.clone(), "--url")
                .or_else(|| of(env("EDGESTACK_URL"), "EDGESTACK_URL"))
                .or_else(|| of(file.url, &path_text)),
            token: token_from_file
                .or_else(|| of(env("EDGESTACK_TOKEN"), "EDGESTACK_TOKEN"))
                .or_else(|| of(file.token, &path_text)),
            nats_url: of(file.nats_url, &path_text),
            ca_file: of(ca_flag, "--ca-file")
                .or_else(|| of(env("EDGESTACK_CA_FILE"), "EDGESTACK_CA_FILE"))
                .or_else(|| of(file.ca_file.map(|ca| beside(&path, &ca)), &path_text)),
            path,
        })
    }

    /// URL and token, both of which a request needs.
    ///
    /// # Errors
    /// Says what is missing and how to give it.
    pub fn site(&self) -> Result<(&Setting, &Setting), ConfigError> {
        let incomplete = |what, variable| ConfigError::Incomplete { what, variable, path: self.path.clone() };
        match (&self.url, &self.token) {
            (Some(url), Some(token)) => Ok((url, token)),
            (None, None) if !self.path.exists() => Err(ConfigError::Missing { path: self.path.clone() }),
            (None, _) => Err(incomplete("url", "EDGESTACK_URL")),
            (Some(_), None) => Err(incomplete("token", "EDGESTACK_TOKEN")),
        }
    }
}

/// A path that stands in a file means one from that file's folder, wherever edgectl is run.
fn beside(file: &Path, path: &str) -> String {
    file.parent().map_or_else(|| path.to_owned(), |folder| folder.join(path).display().to_string())
}

/// Source of the place: XDG Base Directory Specification.
fn file_path(env: Env<'_>) -> PathBuf {
    let base = match (env("XDG_CONFIG_HOME"), env("HOME")) {
        (Some(xdg), _) => PathBuf::from(xdg),
        (None, Some(home)) => Path::new(&home).join(".config"),
        (None, None) => PathBuf::from("/etc"),
    };
    base.join("edgestack").join("config.json")
}

fn read(path: &Path) -> Result<FileContent, ConfigError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FileContent::default()),
        Err(source) => {
            return Err(ConfigError::Unreadable { path: path.to_owned(), source });
        }
    };
    if fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0) {
        let path = path.display();
        output::note(&format!(
            "edgectl: warning: others can read {path}, which holds the token; run: chmod 600 {path}"
        ));
    }
    serde_json::from_slice(&text).map_err(|source| ConfigError::Malformed { path: path.to_owned(), source })
}

/// Runs `edgectl config …`.
///
/// # Errors
/// Nothing is configured at all, or output fails.
pub fn run(command: &ConfigCommand, target: &TargetArgs) -> Result<(), Failure> {
    let ConfigCommand::View(args) = command;
    let effective = Effective::load(target, &process_env)?;
    if effective.url.is_none() && effective.token.is_none() {
        effective.site()?;
    }
    let (raw, people) = shown(&effective)?;
    match args.output {
        Format::Name => output::print("url\ntoken\nnats_url\nca_file\n"),
        format => output::print_document(format, &raw, "", |view: View| {
            Ok(output::table(&["SETTING", "VALUE", "FROM"], people, view.colour))
        }),
    }
}

/// What `config view` prints.
#[derive(Serialize)]
struct Shown<'a> {
    url: Option<&'a str>,
    token: Option<&'a str>,
    nats_url: Option<&'a str>,
    ca_file: Option<&'a str>,
}

fn shown(effective: &Effective) -> Result<(String, Vec<Vec<Cell>>), Failure> {
    fn value(setting: &Option<Setting>) -> Option<&str> {
        setting.as_ref().map(|setting| setting.value.as_str())
    }
    let raw = serde_json::to_string(&Shown {
        url: value(&effective.url),
        token: value(&effective.token),
        nats_url: value(&effective.nats_url),
        ca_file: value(&effective.ca_file),
    })?;
    let row = |key: &str, setting: &Option<Setting>, hide: fn(&str) -> String| {
        let (value, from) = match setting {
            Some(setting) => (hide(&setting.value), setting.from.clone()),
            None => ("not set".to_owned(), String::new()),
        };
        vec![key.into(), value.into(), from.into()]
    };
    let people = vec![
        row("url", &effective.url, without_password),
        row("token", &effective.token, |_| "(hidden; -o json shows it)".to_owned()),
        row("nats_url", &effective.nats_url, without_password),
        row("ca_file", &effective.ca_file, str::to_owned),
    ];
    Ok((raw, people))
}

/// A table may end in a screenshot: the password in a URL does not belong there.
fn without_password(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            // Only a URL that cannot have a password refuses, and this one has one.
            let _ = parsed.set_password(Some("***"));
            parsed.to_string()
        }
        Ok(_) | Err(_) => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(folder: &Path, vars: &[(&str, &str)], target: &TargetArgs) -> Effective {
        let folder = folder.display().to_string();
        Effective::load(target, &|name| match name {
            "XDG_CONFIG_HOME" => Some(folder.clone()),
            name => vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
        })
        .unwrap()
    }

    fn value(setting: &Option<Setting>) -> Option<&str> {
        setting.as_ref().map(|s| s.value.as_str())
    }

    #[test]
    fn flags_outrank_the_environment_which_outranks_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edgestack/config.json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, r#"{"url":"http://f","token":"of-the-file","nats_url":"nats://u:secret@f","later":1}"#)
            .unwrap();
        let none = TargetArgs::default();
        let file = load(folder.path(), &[], &none);
        assert_eq!(value(&file.url), Some("http://f"));
        assert_eq!(value(&file.nats_url), Some("nats://u:secret@f"));
        let vars = [("EDGESTACK_URL", "http://e"), ("EDGESTACK_TOKEN", "te")];
        let env = load(folder.path(), &vars, &none);
        assert_eq!((value(&env.url), value(&env.token)), (Some("http://e"), Some("te")));
        let token_file = folder.path().join("token");
        fs::write(&token_file, "tt\n").unwrap();
        let flags = TargetArgs { url: Some("http://flag".to_owned()), token_file: Some(token_file), ca_file: None };
        let all = load(folder.path(), &vars, &flags);
        assert_eq!((value(&all.url), value(&all.token)), (Some("http://flag"), Some("tt")));
        let (raw, people) = shown(&file).unwrap();
        assert!(raw.contains("\"token\":\"of-the-file\""), "{raw}");
        let table = output::table(&["A", "B", "C"], people, false);
        assert!(!table.contains("of-the-file") && !table.contains("secret"), "{table}");
    }

    #[test]
    fn the_ca_file_comes_from_flag_environment_or_beside_the_config_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edgestack/config.json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let none = TargetArgs::default();
        let beside = folder.path().join("edgestack/ca.pem").display().to_string();
        for (written, meant) in [("ca.pem", beside.as_str()), ("/etc/ca.pem", "/etc/ca.pem")] {
            fs::write(&path, format!(r#"{{"url":"https://f","token":"t","ca_file":"{written}"}}"#)).unwrap();
            assert_eq!(value(&load(folder.path(), &[], &none).ca_file), Some(meant));
        }
        let vars = [("EDGESTACK_CA_FILE", "e.pem")];
        assert_eq!(value(&load(folder.path(), &vars, &none).ca_file), Some("e.pem"));
        let flag = TargetArgs { ca_file: Some("f.pem".into()), ..none };
        let flagged = load(folder.path(), &vars, &flag);
        assert_eq!(flagged.ca_file, Some(Setting { value: "f.pem".to_owned(), from: "--ca-file".to_owned() }));
        let (raw, people) = shown(&flagged).unwrap();
        assert!(raw.contains(r#""ca_file":"f.pem""#), "{raw}");
        assert!(output::table(&["A", "B", "C"], people, false).contains("--ca-file"));
    }

    #[test]
    fn a_missing_configuration_is_one_line_with_the_fix() {
        let folder = tempfile::tempdir().unwrap();
        let nothing = load(folder.path(), &[], &TargetArgs::default());
        let error = nothing.site().unwrap_err().to_string();
        assert!(error.contains("deploy/quickstart") && error.contains("EDGESTACK_URL"), "{error}");
        let half = load(folder.path(), &[("EDGESTACK_URL", "http://e")], &TargetArgs::default());
        let error = half.site().unwrap_err().to_string();
        assert!(error.contains("EDGESTACK_TOKEN"), "{error}");
    }
}
