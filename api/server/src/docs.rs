//! `/openapi.json`, and `/docs`: one page without anything from elsewhere that
//! renders it, so that it works on a site without internet.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{Html, IntoResponse, Response},
};

use crate::state::Site;

const PAGE: &str = include_str!("docs.html");

pub(crate) async fn openapi(State(site): State<Arc<Site>>) -> Response {
    let mut response = Response::new(site.openapi.clone().into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(crate) async fn docs() -> Response {
    let mut response = Html(PAGE).into_response();
    // The page holds a token while it is open: nothing from elsewhere may run in it or frame it.
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    );
    response
}
