//! `edgectl api`: a raw, authenticated call.

use std::{io::Read, path::PathBuf};

use clap::Args;
use reqwest::{
    Body, Method, Request, Response,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use uuid::Uuid;

use crate::{
    client::{self, Client, ClientError, PREFIX, REQUEST_TIMEOUT},
    failure::Failure,
    output,
};

/// Bodies longer than this may take their time.
const QUICK_BODY_MAX: usize = 1 << 20;

/// `edgectl api`
#[derive(Args, Debug)]
pub struct ApiArgs {
    /// GET, POST, PUT, PATCH, DELETE …
    #[arg(value_name = "METHOD", value_parser = method)]
    method: Method,
    /// A path from the server's root (/healthz), or one under the objects' prefix (vms/hello); with its query.
    #[arg(value_name = "PATH")]
    path: String,
    /// The body: JSON text, or @FILE, or @- for standard input.
    #[arg(short, long, value_name = "JSON|@FILE")]
    data: Option<String>,
    /// A further header; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

fn method(text: &str) -> Result<Method, String> {
    Method::from_bytes(text.to_ascii_uppercase().as_bytes()).map_err(|_| "must be an HTTP method".to_owned())
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("must be NAME: VALUE")?;
    let name = name.trim().parse().map_err(|_| "the name is no header name")?;
    let value = HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| "the value is no header value")?;
    Ok((name, value))
}

/// Makes the call: the answer's body to standard output as it comes, whatever
/// the status; an error status is a failure all the same.
///
/// # Errors
/// No answer, an error status, or output's.
pub async fn run(args: ApiArgs, client: &Client) -> Result<(), Failure> {
    let path = if args.path.starts_with('/') { args.path.clone() } else { format!("{PREFIX}/{}", args.path) };
    let url = client.path(&path);
    let body = match &args.data {
        Some(data) => Some(bytes_of(data)?),
        None => None,
    };
    let quick = body.as_ref().is_none_or(|body| body.len() <= QUICK_BODY_MAX);
    let mut request = client.request(args.method.clone(), url.clone());
    set_headers(request.headers_mut(), &args, body.is_some());
    *request.body_mut() = body.map(Body::from);
    let response = answer(client, request, quick).await?;
    let status = response.status();
    let retry_after = client::retry_after(response.headers());
    let text = stream(response, &url, status.is_success()).await?;
    if status.is_success() {
        return Ok(());
    }
    Err(client.refusal_of(&url, status, retry_after, &text).into())
}

fn set_headers(headers: &mut HeaderMap, args: &ApiArgs, has_body: bool) {
    if has_body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let changes = !matches!(args.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && let Ok(key) = HeaderValue::from_str(&Uuid::new_v4().to_string()) {
        headers.insert("Idempotency-Key", key);
    }
    for (name, value) in &args.headers {
        headers.insert(name, value.clone());
    }
}

async fn answer(client: &Client, request: Request, quick: bool) -> Result<Response, Failure> {
    let url = request.url().to_string();
    if !quick {
        return Ok(client.send_raw(request).await?);
    }
    match tokio::time::timeout(REQUEST_TIMEOUT, client.send_raw(request)).await {
        Ok(response) => Ok(response?),
        Err(_) => Err(ClientError::Slow { url }.into()),
    }
}

/// Passes the body on; of an error's body also gives the text.
async fn stream(mut response: Response, url: &reqwest::Url, good: bool) -> Result<String, Failure> {
    let mut kept = Vec::new();
    let mut last = b'\n';
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) => {
                output::print_bytes(&bytes)?;
                last = bytes.last().copied().unwrap_or(last);
                if !good {
                    kept.extend_from_slice(&bytes);
                }
            }
            Ok(None) => break,
            Err(error) => return Err(client::broken(url, error).into()),
        }
    }
    if last != b'\n' && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        output::print("\n")?;
    }
    Ok(String::from_utf8_lossy(&kept).into_owned())
}

fn bytes_of(data: &str) -> Result<Vec<u8>, Failure> {
    let Some(path) = data.strip_prefix('@') else {
        return Ok(data.as_bytes().to_vec());
    };
    let read = if path == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.map_err(|source| Failure::File { doing: "read", path: PathBuf::from(path), source })
}
