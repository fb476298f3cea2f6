//! Revocations as JSON.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rfc3339_millis;
use crate::vocabulary::{Revocation, RevocationChange, RevocationTarget};

/// A revocation: `POST /v1/revocations`. Either `subject` or `jti` is given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RevocationRequest<'a> {
    /// The subject whose connections are closed and refused.
    pub subject: Option<Cow<'a, str>>,
    /// Only those whose token was issued before this time (RFC 3339, or how long ago such as `1h`);
    /// without it, all of the subject.
    pub issued_before: Option<Cow<'a, str>>,
    /// The id of a token whose connections are closed and refused.
    pub jti: Option<Cow<'a, str>>,
    /// When the revocation ends (RFC 3339); without it, it stays until it is deleted.
    pub expires_at: Option<Cow<'a, str>>,
}

/// Mirrors [`Revocation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevocationRecord<'a> {
    /// The number of the revocation, never used twice.
    pub number: u64,
    /// The subject; null for a revocation of a token.
    pub subject: Option<Cow<'a, str>>,
    /// Only what was issued before this time is revoked; null for all of the subject.
    #[serde(with = "rfc3339_millis::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub issued_before: Option<SystemTime>,
    /// The id of the token; null for a revocation of a subject.
    pub jti: Option<Cow<'a, str>>,
    /// When it was made.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: SystemTime,
    /// When it ends; null if only deleting it does.
    #[serde(with = "rfc3339_millis::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<SystemTime>,
    /// Who made it.
    pub by: Option<Cow<'a, str>>,
    /// The number of connections that it closed when it was made; null in later answers.
    pub closed: Option<u64>,
}

/// A page of revocations in force, newest first: `GET /v1/revocations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevocationPage<'a> {
    /// The revocations.
    pub revocations: Vec<RevocationRecord<'a>>,
    /// The `cursor` of the next page; null at the end.
    pub next: Option<Cow<'a, str>>,
}

/// A change of the revocations: the event `revocation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevocationChangeRecord<'a> {
    /// What happened: `made` or `withdrawn`.
    pub change: Cow<'a, str>,
    /// When it happened.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub at: SystemTime,
    /// The revocation.
    pub revocation: RevocationRecord<'a>,
}

impl<'a> From<&'a Revocation> for RevocationRecord<'a> {
    fn from(revocation: &'a Revocation) -> Self {
        let (subject, issued_before, jti) = match &revocation.target {
            RevocationTarget::Subject { subject, issued_before } => {
                (Some(subject.as_str().into()), *issued_before, None)
            }
            RevocationTarget::Token { id } => (None, None, Some(id.as_str().into())),
        };
        Self {
            number: revocation.number,
            subject,
            issued_before,
            jti,
            created_at: revocation.created_at,
            expires_at: revocation.expires_at,
            by: revocation.by.as_ref().map(|by| by.to_string().into()),
            closed: None,
        }
    }
}

impl<'a> From<&'a RevocationChange> for RevocationChangeRecord<'a> {
    fn from(change: &'a RevocationChange) -> Self {
        let revocation = RevocationRecord::from(&**change.revocation());
        Self { change: change.as_str().into(), at: change.at(), revocation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Requester;

    #[test]
    fn a_revocation_has_every_field_whatever_it_is_for() {
        let json = |target| {
            let by = Some(Requester::Api("ops".into()));
            let (created_at, expires_at) = (SystemTime::UNIX_EPOCH, None);
            let revocation = Revocation { number: 7, target, created_at, expires_at, by };
            serde_json::to_string(&RevocationRecord::from(&revocation)).unwrap()
        };
        let (subject, issued_before) = ("ann".to_owned(), Some(SystemTime::UNIX_EPOCH));
        assert_eq!(
            json(RevocationTarget::Subject { subject, issued_before }),
            r#"{"number":7,"subject":"ann","issued_before":"1970-01-01T00:00:00.000Z","jti":null,"created_at":"1970-01-01T00:00:00.000Z","expires_at":null,"by":"api:ops","closed":null}"#
        );
        assert_eq!(
            json(RevocationTarget::Token { id: "t1".to_owned() }),
            r#"{"number":7,"subject":null,"issued_before":null,"jti":"t1","created_at":"1970-01-01T00:00:00.000Z","expires_at":null,"by":"api:ops","closed":null}"#
        );
    }
}
