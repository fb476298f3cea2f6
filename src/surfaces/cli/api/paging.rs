//! Listings that come in pages.

use super::{Answer, Daemon, query};
use crate::contract::{ConnectionPage, ConnectionRecord, EndingPageRecord, EndingRecord};
use crate::surfaces::cli::failure::Failure;

/// How many are asked for at once.
const PAGE: u64 = 200;

/// A page of a listing.
pub(in crate::surfaces::cli) trait Page:
    serde::de::DeserializeOwned
{
    /// What is listed.
    type Item;

    /// Returns what is on it, and the cursor of the next one.
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

/// What a listing came to.
#[derive(Debug)]
pub(in crate::surfaces::cli) struct Listed<T> {
    /// What is listed.
    pub items: Vec<T>,
    /// Whether there would have been more.
    pub more: bool,
}

impl Daemon {
    /// Asks for one page after the other, until there are `limit` items, or to the end if that is 0.
    ///
    /// Every answer is handed to `see` as it came.
    ///
    /// # Errors
    /// What [`Daemon::call`] says, and whatever `see` does.
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
                // It has at least `limit` items, which therefore fits a usize.
                items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
                return Ok(Listed { items, more: next.is_some() || surplus });
            }
            // A cursor that leads nowhere would be followed for ever.
            if next.is_none() || next == cursor {
                return Ok(Listed { items, more: false });
            }
            cursor = next;
        }
    }
}
