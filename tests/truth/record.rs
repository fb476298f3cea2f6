//! What a record has to say, field by field.

use serde_json::Value;

/// What is wanted of one field.
#[derive(Debug, Clone)]
pub enum Is {
    Value(Value),
    OneOf(Vec<Value>),
    /// From, to.
    Within(u64, u64),
    /// A text with one of these in it.
    Contains(Vec<String>),
    /// Not null.
    Known,
    Anything,
}

impl Is {
    fn holds(&self, found: &Value) -> bool {
        match self {
            Self::Value(value) => found == value,
            Self::OneOf(values) => values.contains(found),
            Self::Within(from, to) => found.as_u64().is_some_and(|it| (*from..=*to).contains(&it)),
            Self::Contains(texts) => {
                let found = found.as_str().unwrap_or_default();
                texts.iter().any(|text| found.contains(text))
            }
            Self::Known => !found.is_null(),
            Self::Anything => true,
        }
    }
}

impl<T: Into<Value>> From<T> for Is {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

/// One admissible ending.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Why it is admissible, beside the others.
    pub why: &'static str,
    fields: Vec<(&'static str, Is)>,
}

impl Wanted {
    pub fn new(why: &'static str) -> Self {
        Self { why, fields: Vec::new() }
    }

    /// Wants this of a field, whatever was wanted of it before.
    pub fn with(mut self, field: &'static str, is: impl Into<Is>) -> Self {
        self.fields.retain(|(name, _)| *name != field);
        self.fields.push((field, is.into()));
        self
    }

    /// Whether it wants this text of a field.
    pub fn is(&self, field: &str, text: &str) -> bool {
        let is = |(name, is): &(&str, Is)| *name == field && is.holds(&text.into());
        self.fields.iter().any(is)
    }

    /// The fields that are otherwise: `field: found, wanted`.
    pub fn mismatches(&self, record: &Value) -> Vec<String> {
        self.fields
            .iter()
            .filter_map(|(name, is)| match record.get(*name) {
                None => Some(format!("{name} is absent")),
                Some(found) if is.holds(found) => None,
                Some(found) => Some(format!("{name} is {found}, wanted {is:?}")),
            })
            .collect()
    }
}

/// What holds within every record, whatever has happened; returns what does not.
pub fn contradictions(record: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |holds: bool, rule: &str| {
        if !holds {
            found.push(rule.to_owned());
        }
    };
    let is = |field: &str, value: &str| record[field] == value;
    let known = |field: &str| !record[field].is_null();
    let both = known("close_sent") && known("close_received");
    check(known("handshake_ms") == both, "handshake_ms is there with both Closes, and only then");
    if both {
        let [handshake, open] = ["handshake_ms", "open_ms"].map(|field| record[field].as_u64());
        check(handshake.is_some() && handshake <= open, "it closes no longer than it was open");
    }
    check(is("retry", "backoff") == known("retry_after_ms"), "retry_after_ms belongs to backoff");
    if let Some([Value::Number(from), Value::Number(to)]) =
        record["retry_after_ms"].as_array().map(Vec::as_slice)
    {
        check(from.as_u64() < to.as_u64(), "retry_after_ms is a range");
    }
    let times = ["opened_at", "ended_at"].map(|field| time(record, field));
    check(times[0].is_some() && times[0] <= times[1], "it ends after it has opened");
    check(
        record["detail"].as_str().is_some_and(|detail| detail.trim().contains(' ')),
        "detail is a sentence",
    );
    check(record["id"].as_str().is_some_and(|id| id.as_bytes().get(14) == Some(&b'7')), "a UUIDv7");
    let died = is("kind", "process_died");
    if is("kind", "open_failed") {
        for field in ["state", "close_code", "close_sent", "close_received", "messages_in"] {
            check(!known(field), "an attempt has no state, no Close and no messages");
        }
        check(known("open_failure"), "an attempt says why it failed");
        return found;
    }
    check(!known("open_failure") && !known("status"), "only an attempt has open_failure");
    if died {
        return found;
    }
    let closed_by_none = is("first_close", "none");
    let no_close = !known("close_sent") && !known("close_received");
    check(closed_by_none == no_close, "first_close is none without a Close, and only then");
    if is("first_close", "peer") {
        check(known("close_received"), "a peer that closed first has sent a Close");
    }
    if is("first_close", "local") {
        check(known("close_sent"), "this end has sent a Close if it closed first");
    }
    if is("state", "closed") {
        check(both, "closed means one Close each way");
    }
    if is("state", "open") {
        check(!known("close_received"), "no Close has come while it is open");
    }
    let code = match &record["close_received"] {
        Value::Null => 1006.into(),
        close if close["code"].is_null() => 1005.into(),
        close => close["code"].clone(),
    };
    check(record["close_code"] == code, "close_code is that of RFC 6455 section 7.1.5");
    if let (Some(open), [Some(from), Some(to)]) = (record["open_ms"].as_u64(), times) {
        check(open.abs_diff(to.saturating_sub(from)) < 1000, "open_ms is the time in between");
    }
    check(known("tcp"), "the kernel was asked");
    if let Some(wrong) = wrong_retry(record) {
        found.push(wrong);
    }
    found
}

/// `retry`, judged by the cause before the code.
fn wrong_retry(record: &Value) -> Option<String> {
    let text = |field: &str| record[field].as_str().unwrap_or_default();
    let code = |field: &str| record[field]["code"].as_u64();
    let mut codes = [code("close_sent"), code("close_received")];
    if text("direction") == "outbound" && text("cause") == "relay_peer" {
        // By the cause: a Close that was passed on, and its echo, are not the server's own.
        codes = [None, codes[1].filter(|received| codes[0] != Some(*received))];
    }
    let has = |wanted: &[u64]| codes.iter().flatten().any(|code| wanted.contains(code));
    let violations = ["protocol_violation", "invalid_payload", "message_too_big"];
    let went = text("direction") == "inbound" && text("cause") == "peer";
    let due: &[&str] = match (text("kind"), text("cause")) {
        (kind, _) if violations.contains(&kind) => &["never"],
        (_, "replaced") => &["never"],
        // Of `revoked` the contract says only that it closes with 3000.
        (_, "auth_expired" | "revoked") => &["reauthenticate"],
        // It was cut off by somebody here: the contract does not say whether a Close counts then.
        ("aborted" | "drain_deadline", _) => &["never", "reauthenticate", "backoff"],
        // By the cause: what the peer answers says nothing.
        (_, "drain" | "idle_timeout" | "max_age" | "rate_limited" | "keepalive") => &["backoff"],
        _ if has(&[1002, 1003, 1007, 1008, 1009, 1010]) => &["never"],
        _ if has(&[3000]) => &["reauthenticate"],
        // It closed of its own will, whether the end was in order or not.
        _ if went && matches!(codes[1], Some(1000 | 1001)) => match text("kind") {
            "clean" => &["never"],
            _ => &["never", "backoff"],
        },
        _ => &["backoff"],
    };
    let found = text("retry");
    (!due.contains(&found)).then(|| format!("retry is {found:?}, due is one of {due:?}"))
}

/// A time of a record, in milliseconds since 1970.
pub fn time(record: &Value, field: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(record[field].as_str()?).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis() as u64)
}
