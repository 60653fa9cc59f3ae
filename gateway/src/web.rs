//! The web client: files of `gateway/web/dist`, inside the binary.
//!
//! A build without the client works: the page then says how to make it. Paths without a file are
//! routes of the client and get its first page. Files under `assets/` have their hash in their name
//! and are kept by browsers for ever; the first page is asked for again every time.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, Uri, header};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Client;

const MISSING: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Flux</title>
<h1>Flux is running</h1>
<p>This binary was built without the web client. Build it and start again:</p>
<pre>make run</pre>
<p>or, step by step:</p>
<pre>npm --prefix gateway/web ci
npm --prefix gateway/web run build
cargo build --release -p gateway</pre>
<p>The API is at <code>/api/v10</code>, the gateway at <code>/gateway</code>.</p>
";

/// Answers any path that is not the API's.
pub(crate) fn serve(uri: &Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    if let Some(file) = Client::get(path) {
        return answer(path, file);
    }
    if path.starts_with("assets/") {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    }
    match Client::get("index.html") {
        Some(file) => answer("index.html", file),
        None => page(MISSING.into()),
    }
}

fn page(body: axum::body::Body) -> Response {
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

fn answer(path: &str, file: rust_embed::EmbeddedFile) -> Response {
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let keep = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let mut response = axum::body::Body::from(file.data).into_response();
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::try_from(kind.as_ref()) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    let sniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, sniff);
    response
}
