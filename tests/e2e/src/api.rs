//! MM3 over HTTP.

use std::{path::Path, time::Duration};

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

/// Both spellings that are in the field.
pub const PREFIXES: [&str; 2] = ["/edgetron/resources/kubevirt", "/edgetron/resources/kubvirt"];

/// A client of a site.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    /// `http://127.0.0.1:PORT`, or what the certificate is for.
    pub url: String,
    /// The token of the admin.
    pub token: String,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body as it came.
    pub text: String,
}

impl Reply {
    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// A header; empty if absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body, after making sure that the status is this one.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// The body of a success.
    #[track_caller]
    pub fn accepted(&self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.json()
    }
}

impl Api {
    /// A client.
    pub fn new(url: &str, token: &str) -> Self {
        Self::trusting(url, token, None)
    }

    /// A client that trusts the CA of a file.
    pub fn trusting(url: &str, token: &str, ca_file: Option<&Path>) -> Self {
        let mut http = reqwest::Client::builder().timeout(Duration::from_secs(40));
        if let Some(file) = ca_file {
            let pem = std::fs::read(file).expect("the CA's certificate");
            http = http.add_root_certificate(reqwest::Certificate::from_pem(&pem).expect("PEM"));
        }
        let http = http.build().expect("a client");
        Self { http, url: url.to_owned(), token: token.to_owned() }
    }

    /// A request that is not sent yet; paths that don't begin with `/` are resources.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let prefix = if path.starts_with('/') { "" } else { "/edgetron/resources/kubevirt/" };
        self.http.request(method, format!("{}{prefix}{path}", self.url)).bearer_auth(&self.token)
    }

    /// Sends a request; an error is one of the connection.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Reply, reqwest::Error> {
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Reply { status, headers, text: answer.text().await? })
    }

    /// GET, whatever the status.
    pub async fn look(&self, path: &str) -> Result<Reply, reqwest::Error> {
        self.send(self.request(Method::GET, path)).await
    }

    /// GET of what is there.
    pub async fn get(&self, path: &str) -> Value {
        self.look(path).await.expect("an answer").expect(200)
    }

    /// POST.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.try_post(path, body).await.expect("an answer")
    }

    /// POST to a server that may be away.
    pub async fn try_post(&self, path: &str, body: &Value) -> Result<Reply, reqwest::Error> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// PATCH.
    pub async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.send(self.request(Method::PATCH, path).json(body)).await.expect("an answer")
    }

    /// PUT.
    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(self.request(Method::PUT, path).json(body)).await.expect("an answer")
    }

    /// A change that has the same effect once however often it is sent.
    pub async fn send_once(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: &str,
    ) -> Result<Reply, reqwest::Error> {
        let request = self.request(method, path).header("Idempotency-Key", key);
        self.send(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Reply {
        self.try_delete(path).await.expect("an answer")
    }

    /// DELETE at a server that may be away.
    pub async fn try_delete(&self, path: &str) -> Result<Reply, reqwest::Error> {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// An action on a VM.
    pub async fn act(&self, vm: &str, action: &Value) -> Reply {
        self.post(&format!("vms/{vm}/action"), action).await
    }

    /// The whole history of a VM, also of one that is gone.
    pub async fn events(&self, vm: &str) -> Vec<Value> {
        let list = self.get(&format!("vms/{vm}/events?limit=1000")).await;
        list["items"].as_array().expect("a list").clone()
    }

    /// The types of the events of a VM, in order.
    pub async fn event_types(&self, vm: &str) -> Vec<String> {
        self.events(vm).await.iter().filter_map(|event| event["type"].as_str()).map(str::to_owned).collect()
    }
}
