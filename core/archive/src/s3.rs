//! Closed segments in a store that speaks S3, named by `s3://BUCKET[/PREFIX]`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use object_store::{
    ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    path::Path,
    prefix::PrefixStore,
};

/// How long one request may take; appends to the archive wait for a segment's.
const REQUEST: Duration = Duration::from_secs(10);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How often, and for how long, a request is repeated; after that the next try comes with the next minute.
const RETRIES: usize = 2;

/// A bucket, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Address {
    bucket: String,
    prefix: Path,
}

/// Why a store can't be used.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// A setting makes no sense.
    #[error("the S3 store of the archive can't be set up; see --archive, AWS_ENDPOINT_URL and AWS_REGION")]
    Settings(#[from] object_store::Error),
    /// The file with settings can't be used.
    #[error("{} {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, and the fix.
        why: String,
    },
}

impl std::str::FromStr for S3Address {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("s3://").ok_or("must be s3://BUCKET or s3://BUCKET/PREFIX")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        if bucket.len() < 3 || !bucket.bytes().all(plain) {
            return Err(format!("{bucket:?} is no name of a bucket"));
        }
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|error| error.to_string())?;
        Ok(Self { bucket: bucket.to_owned(), prefix })
    }
}

/// Reads lines `AWS_…=value` of a file that nobody else may read; empty lines and `#` are passed over.
///
/// # Errors
/// [`S3Error::File`].
pub fn settings_of(path: &std::path::Path) -> Result<Vec<(String, String)>, S3Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |why: String| S3Error::File { path: path.to_owned(), why };
    let mode = std::fs::metadata(path).map_err(|error| failed(format!("can't be read: {error}")))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(failed(format!("may be read by others (mode {:04o}): chmod 0600 it", mode & 0o7777)));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(format!("can't be read: {error}")))?;
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            let wrong = || failed(format!("line {} is not NAME=value", number + 1));
            let (name, value) = line.split_once('=').ok_or_else(wrong)?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// The store at an address: by the usual `AWS_…` variables of the environment, and over them by `settings`, of the same names.
/// Plain HTTP is spoken where the endpoint says so.
///
/// # Errors
/// [`S3Error`].
pub fn s3(address: &S3Address, settings: &[(String, String)]) -> Result<Arc<dyn ObjectStore>, S3Error> {
    // One TLS stack for all; whoever set it up before has taken the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = AmazonS3Builder::from_env();
    for (name, value) in settings {
        builder = builder.with_config(name.to_ascii_lowercase().parse()?, value);
    }
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint).unwrap_or_default();
    let client = ClientOptions::new()
        .with_timeout(REQUEST)
        .with_connect_timeout(CONNECT)
        .with_allow_http(endpoint.starts_with("http://"));
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: REQUEST, ..RetryConfig::default() };
    let store = builder.with_bucket_name(&address.bucket).with_client_options(client).with_retry(retry).build()?;
    Ok(Arc::new(PrefixStore::new(store, address.prefix.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_bucket_and_where_in_it() {
        let parse = |text: &str| text.parse::<S3Address>().map(|s3| (s3.bucket, s3.prefix.to_string()));
        assert_eq!(parse("s3://logs"), Ok(("logs".into(), String::new())));
        assert_eq!(parse("s3://logs/edge/site-1/"), Ok(("logs".into(), "edge/site-1".into())));
        for wrong in ["logs", "s3://", "s3://a", "s3://With/UPPER", "https://logs/x", "s3://logs/a//b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_of_settings_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# ours\nAWS_REGION = eu-1\n\nAWS_SECRET_ACCESS_KEY=a=b\n").unwrap();
        let set = |mode| std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        set(0o640);
        assert!(settings_of(file.path()).unwrap_err().to_string().contains("chmod 0600"));
        set(0o600);
        let found = settings_of(file.path()).unwrap();
        assert_eq!(
            found,
            [("AWS_REGION", "eu-1"), ("AWS_SECRET_ACCESS_KEY", "a=b")].map(|(n, v)| (n.into(), v.into()))
        );
        std::fs::write(file.path(), "no setting").unwrap();
        assert!(settings_of(file.path()).unwrap_err().to_string().contains("line 1"));
    }
}
