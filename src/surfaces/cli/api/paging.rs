//! Listings in pages.

use super::{Answer, Daemon, query};
use crate::contract::{
    ConnectionPage, ConnectionRecord, EndingPageRecord, EndingRecord, RevocationPage,
    RevocationRecord,
};
use crate::surfaces::cli::failure::Failure;

/// The number of items per request.
const PAGE: u64 = 200;

/// A page of a listing.
pub(in crate::surfaces::cli) trait Page:
    serde::de::DeserializeOwned
{
    /// The type of the items.
    type Item;

    /// Returns its items, and the cursor of the next page.
    fn into_parts(self) -> (Vec<Self::Item>, Option<String>);
}

impl Page for ConnectionPage<'static> {
    type Item = ConnectionRecord<'static>;

    fn into_parts(self) -> (Vec<Self::Item>, Option<String>) {
        (self.connections, self.next.map(String::from))
    }
}

impl Page for EndingPageRecord<'static> {
    type Item = EndingRecord<'static>;

    fn into_parts(self) -> (Vec<Self::Item>, Option<String>) {
        (self.endings, self.next.map(String::from))
    }
}

impl Page for RevocationPage<'static> {
    type Item = RevocationRecord<'static>;

    fn into_parts(self) -> (Vec<Self::Item>, Option<String>) {
        (self.revocations, self.next.map(String::from))
    }
}

/// The result of a listing.
#[derive(Debug)]
pub(in crate::surfaces::cli) struct Listed<T> {
    /// The items.
    pub items: Vec<T>,
    /// Whether there are more.
    pub more: bool,
}

impl Daemon {
    /// Requests pages until there are `limit` items, or all pages if `limit` is 0.
    ///
    /// Passes every answer to `see` as received.
    ///
    /// # Errors
    /// Those of [`Daemon::call`], and those of `see`.
    pub(in crate::surfaces::cli) async fn list<P: Page>(
        &self,
        path: &str,
        filters: &[(&'static str, Option<String>)],
        limit: u64,
        mut see: impl FnMut(&Answer) -> Result<(), Failure>,
    ) -> Result<Listed<P::Item>, Failure> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let missing = match limit {
                0 => PAGE,
                limit => (limit - items.len() as u64).min(PAGE),
            };
            let paging = [("limit", Some(missing.to_string())), ("cursor", cursor.clone())];
            let target = format!("{path}{}", query(filters.iter().cloned().chain(paging)));
            let answer = self.get(&target).await?;
            see(&answer)?;
            let (page, next) = answer.read::<P>()?.into_parts();
            items.extend(page);
            let full = limit > 0 && items.len() as u64 >= limit;
            if full {
                let surplus = items.len() as u64 > limit;
                // There are at least `limit` items, so `limit` fits a usize.
                items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
                return Ok(Listed { items, more: next.is_some() || surplus });
            }
            // Stop at an empty page, which would otherwise loop for ever.
            if next.is_none() || next == cursor {
                return Ok(Listed { items, more: false });
            }
            cursor = next;
        }
    }
}
