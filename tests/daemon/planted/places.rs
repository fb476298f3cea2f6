//! Where the secrets are planted.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use super::{PLANTED, TOKEN};

/// The secret that signs the tokens of clients.
pub(super) const JWT_SECRET: &str = "planted7f3a-a-secret-of-at-least-32-bytes";

/// A token that lets in whoever has it.
pub(super) fn member() -> String {
    let claims = json!({ "sub": "ann", "exp": 4_000_000_000_u64, "note": PLANTED });
    let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
}

/// A redirect that carries secrets where servers put them.
pub(super) fn redirect() -> String {
    format!(
        "HTTP/1.1 302 Found\r\nLocation: wss://u:{PLANTED}-location@example.org/?token={PLANTED}-location-query\r\n\
         Set-Cookie: session={PLANTED}-set-cookie\r\nWWW-Authenticate: Bearer {PLANTED}-challenge\r\n\
         Connection: close\r\nContent-Length: 30\r\n\r\n{PLANTED}-answer-body"
    )
}

/// Header lines with a secret each.
pub(super) fn secret_lines() -> String {
    format!(
        "Cookie: session={PLANTED}-cookie\r\nAuthorization: Bearer {PLANTED}-authorization\r\n\
         Proxy-Authorization: Basic {PLANTED}-proxy-authorization\r\nX-Api-Key: {PLANTED}-header\r\n\
         Referer: https://example.org/?token={PLANTED}-referer\r\n\
         Sec-WebSocket-Protocol: bearer.{PLANTED}-subprotocol\r\n"
    )
}

pub(super) fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The configuration, with secrets wherever one may stand.
pub(super) fn configuration(
    files: &Path,
    (certificate, key): (&Path, &Path),
    [echoing, redirecting, nobody]: [&str; 3],
) -> String {
    private(&files.join("tokens"), &format!("ops:{TOKEN}\ndash:read:{PLANTED}-token-of-another\n"));
    private(&files.join("feed"), &format!("Bearer {PLANTED}-dialer-file\n"));
    private(&files.join("proxy"), &format!("user:{PLANTED}-proxy-file\n"));
    private(&files.join("jwt"), JWT_SECRET);
    let (certificate, key) = (certificate.display(), key.display());
    let files = files.display();
    format!(
        r#"
[[listeners]]
name = "public"
listen = "127.0.0.1:0"
trusted_proxies = ["127.0.0.1"]
forwarded = "trust"

[[listeners]]
name = "secure"
listen = "127.0.0.1:0"
tls = {{ cert = "{certificate}", key = "{key}" }}

[[routes]]
name = "members"
path = "/members/*"
subprotocols = ["v1"]
backend = {{ kind = "echo" }}
auth = {{ kind = "jwt", secret = {{ file = "{files}/jwt" }}, algorithms = ["HS256"], from = ["header", "cookie:session", "query:token", "subprotocol"] }}

[[routes]]
name = "asked"
path = "/asked/*"
backend = {{ kind = "echo" }}
auth = {{ kind = "http", url = "http://{redirecting}/auth?key={PLANTED}-auth-query", pass_headers = ["cookie", "authorization"] }}

[[routes]]
name = "echo"
path = "/echo/*"
subprotocols = ["bearer.{PLANTED}-subprotocol"]
backend = {{ kind = "echo" }}

[[routes]]
name = "app"
path = "/app/*"
subprotocols = ["bearer.{PLANTED}-subprotocol"]
backend = {{ kind = "relay", url = "ws://{echoing}/echo/app?key={PLANTED}-relay-query" }}

[[routes]]
name = "redirected"
path = "/redirected/*"
backend = {{ kind = "relay", url = "ws://{redirecting}" }}

[[routes]]
name = "nobody"
path = "/nobody/*"
backend = {{ kind = "relay", url = "ws://{nobody}/?key={PLANTED}-nobody-query" }}

[[dialers]]
name = "feed"
url = "ws://{echoing}/echo/feed?key={PLANTED}-dialer-query"
headers = {{ authorization = {{ file = "{files}/feed" }}, x-key = {{ env = "PLANTED_KEY" }} }}
backend = {{ kind = "none" }}
on_open = ['{{"op":"auth","key":"{PLANTED}-on-open"}}']
reply = [{{ when = "{PLANTED}-when", send = "{PLANTED}-reply" }}]
ready_on = "{PLANTED}-on-open"

[[dialers]]
name = "redirected"
url = "ws://{redirecting}/?key={PLANTED}-redirected-query"
headers = {{ authorization = {{ file = "{files}/feed" }} }}
backend = {{ kind = "none" }}
reconnect = {{ min = "500ms", max = "1s" }}

[[dialers]]
name = "behind-a-proxy"
url = "wss://example.org/?key={PLANTED}-proxied-query"
proxy = "http://{nobody}"
proxy_credentials = {{ file = "{files}/proxy" }}
backend = {{ kind = "none" }}
reconnect = {{ min = "500ms", max = "1s" }}

[control]
listen = "127.0.0.1:0"
token_file = "{files}/tokens"
allow_dial = true

[log]
format = "json"
filter = "trace"
"#
    )
}
