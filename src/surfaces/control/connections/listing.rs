//! The list of live connections: which ones, in which order, and how many at once.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::contract::SelectorRecord;
use crate::manager::ConnectionHandle;
use crate::surfaces::control::parsing;
use crate::surfaces::control::problem::Problem;
use crate::vocabulary::{CloseState, ConnectionId, Direction, Origin, PeerFilter, Selector};

/// After so many connections, other requests get their turn.
const AT_ONCE: usize = 4096;

/// The maximum length of a searched text, in bytes.
const LONGEST_SEARCH: usize = 256;

/// Which connections to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::surfaces::control) struct Filter {
    /// Those of this route.
    route: Option<String>,
    /// Those in this state: `open`, `close_sent`, `close_received` or `closed`.
    state: Option<String>,
    /// Those in this direction: `inbound` or `outbound`.
    direction: Option<String>,
    /// Those of this subject.
    subject: Option<String>,
    /// Those of this path, as recorded.
    path: Option<String>,
    /// Those of this peer: an address with or without port.
    peer: Option<String>,
    /// Those with this tag, as `name:value`.
    tag: Option<String>,
    /// Those relayed to this application, by its URL as recorded.
    upstream: Option<String>,
    /// Those relayed to the application with this number in its route, from 0.
    upstream_number: Option<u64>,
    /// Those with this text, of at most 256 bytes, in their id, peer, proxy, subject, route, dialer,
    /// host, path, user agent, tags or upstream URL. ASCII letters match in either case.
    search: Option<String>,
    /// The field to sort by: `opened_at` (the default), `last_activity_ms`, `messages_in`,
    /// `messages_out`, `bytes_in`, `bytes_out`, `queued_bytes` or `ping_rtt_ms`; with `-` in front,
    /// the largest comes first. Connections without a value come last. Only the order by `opened_at`
    /// has pages; otherwise the answer is the first `limit`, and `next` is null.
    sort: Option<String>,
    /// The maximum number, from 1 to 1000; 100 by default.
    limit: Option<u32>,
    /// The `next` of the previous page.
    cursor: Option<String>,
}

/// A validated request.
pub(super) struct Wanted {
    select: Selector,
    state: Option<CloseState>,
    direction: Option<Direction>,
    path: Option<String>,
    peer: Option<PeerFilter>,
    search: Option<Search>,
    sort: Sort,
    limit: usize,
    after: Option<ConnectionId>,
}

/// The answer to a request.
pub(super) struct Listed {
    /// The connections of the page, in order.
    pub(super) connections: Vec<ConnectionHandle>,
    /// The number of connections that match, on this page or not.
    pub(super) total: usize,
    /// The `cursor` of the next page.
    pub(super) next: Option<ConnectionId>,
}

impl Wanted {
    pub(super) fn read(filter: Filter) -> Result<Self, Problem> {
        let Filter { state, direction, path, peer, search, sort, limit, cursor, .. } = filter;
        let state = parsing::word("state", state.as_deref(), CloseState::ALL, CloseState::as_str)?;
        let direction =
            parsing::word("direction", direction.as_deref(), Direction::ALL, Direction::as_str)?;
        let sort = Sort::read(sort.as_deref())?;
        let after = parsing::cursor(cursor)?;
        if after.is_some() && !sort.has_pages() {
            return Err(Problem::invalid(format!(
                "cursor: the order by {} changes all the time, so it has no pages: leave it out",
                sort.by.as_str()
            )));
        }
        let select = SelectorRecord {
            route: filter.route.map(Into::into),
            subject: filter.subject.map(Into::into),
            tag: filter.tag.map(Into::into),
            upstream: filter.upstream.map(Into::into),
            upstream_number: filter.upstream_number,
        };
        Ok(Self {
            select: select.selector()?,
            state,
            direction,
            path,
            peer: peer.as_deref().map(PeerFilter::parse),
            search: search.map(Search::read).transpose()?,
            sort,
            limit: parsing::limit(limit)?,
            after,
        })
    }

    /// Chooses the page. The cost grows with the number of connections, but not faster.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(super) async fn page(&self, all: Vec<ConnectionHandle>) -> Listed {
        let mut found = Vec::new();
        let mut total = 0;
        let mut all = all.into_iter().peekable();
        while all.peek().is_some() {
            let matching = all.by_ref().take(AT_ONCE).filter(|one| self.includes(one));
            for connection in matching {
                total += 1;
                if self.is_after(connection.id()) {
                    found.push((self.sort.place(&connection), connection));
                }
            }
            tokio::task::yield_now().await;
        }
        let order = |a: &(u64, ConnectionHandle), b: &(u64, ConnectionHandle)| {
            // Ids begin with their creation time, so this is the order of opening.
            let oldest_first = a.1.id().cmp(&b.1.id());
            let newest_first = self.sort.is_newest_first();
            a.0.cmp(&b.0).then(if newest_first { oldest_first.reverse() } else { oldest_first })
        };
        let more = found.len() > self.limit;
        if more {
            found.select_nth_unstable_by(self.limit, order);
            found.truncate(self.limit);
        }
        found.sort_unstable_by(order);
        let connections: Vec<ConnectionHandle> = found.into_iter().map(|(_, one)| one).collect();
        let last = connections.last().filter(|_| more && self.sort.has_pages());
        Listed { total, next: last.map(ConnectionHandle::id), connections }
    }

    fn is_after(&self, id: ConnectionId) -> bool {
        let newest_first = self.sort.is_newest_first();
        self.after.is_none_or(|after| if newest_first { id < after } else { id > after })
    }

    fn includes(&self, connection: &ConnectionHandle) -> bool {
        let origin = connection.origin();
        self.select.matches(origin)
            && self.direction.is_none_or(|direction| origin.direction == direction)
            && (self.path.is_none() || self.path == origin.path)
            && self.peer.as_ref().is_none_or(|peer| {
                origin.peer.as_deref().is_some_and(|recorded| peer.matches(recorded))
            })
            && self.state.is_none_or(|state| connection.state() == state)
            && self.search.as_ref().is_none_or(|search| search.finds(connection.id(), origin))
    }
}

/// A text to look for.
struct Search(Vec<u8>);

impl Search {
    fn read(text: String) -> Result<Self, Problem> {
        match text.len() {
            0 => Err(Problem::invalid("search: it is empty: leave it out")),
            1..=LONGEST_SEARCH => Ok(Self(text.into_bytes())),
            length => Err(Problem::invalid(format!(
                "search: it has {length} bytes, more than the {LONGEST_SEARCH} allowed"
            ))),
        }
    }

    fn finds(&self, id: ConnectionId, origin: &Origin) -> bool {
        let Origin { peer, via, subject, route, dialer, host, path, user_agent, .. } = origin;
        let texts = [peer, via, subject, route, dialer, host, path, user_agent];
        let upstream = origin.upstream.as_ref().map(|upstream| &upstream.url);
        texts.into_iter().flatten().chain(upstream).any(|text| self.is_in(text))
            || self.is_in(&id.to_string())
            || origin.tags.iter().any(|(name, value)| self.is_in(&format!("{name}:{value}")))
    }

    fn is_in(&self, text: &str) -> bool {
        text.as_bytes().windows(self.0.len()).any(|part| part.eq_ignore_ascii_case(&self.0))
    }
}

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sort {
    by: Figure,
    largest_first: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Figure {
    OpenedAt,
    LastActivity,
    MessagesIn,
    MessagesOut,
    BytesIn,
    BytesOut,
    QueuedBytes,
    PingRtt,
}

impl Figure {
    const ALL: [Self; 8] = [
        Self::OpenedAt,
        Self::LastActivity,
        Self::MessagesIn,
        Self::MessagesOut,
        Self::BytesIn,
        Self::BytesOut,
        Self::QueuedBytes,
        Self::PingRtt,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::OpenedAt => "opened_at",
            Self::LastActivity => "last_activity_ms",
            Self::MessagesIn => "messages_in",
            Self::MessagesOut => "messages_out",
            Self::BytesIn => "bytes_in",
            Self::BytesOut => "bytes_out",
            Self::QueuedBytes => "queued_bytes",
            Self::PingRtt => "ping_rtt_ms",
        }
    }
}

impl Sort {
    fn read(asked: Option<&str>) -> Result<Self, Problem> {
        let Some(asked) = asked else {
            return Ok(Self { by: Figure::OpenedAt, largest_first: false });
        };
        let (word, largest_first) = match asked.strip_prefix('-') {
            Some(word) => (word, true),
            None => (asked, false),
        };
        let found = Figure::ALL.into_iter().find(|figure| figure.as_str() == word);
        found.map(|by| Self { by, largest_first }).ok_or_else(|| {
            let known = Figure::ALL.map(Figure::as_str).join(", ");
            Problem::invalid(format!(
                "sort: {asked:?} is not one of {known}; each may have - in front, for the largest first"
            ))
        })
    }

    /// Returns whether the place of a connection stays, so that one page can follow another.
    const fn has_pages(self) -> bool {
        matches!(self.by, Figure::OpenedAt)
    }

    const fn is_newest_first(self) -> bool {
        matches!(self, Self { by: Figure::OpenedAt, largest_first: true })
    }

    /// Returns the place of a connection: the smallest comes first, and equal ones by their ids.
    fn place(self, connection: &ConnectionHandle) -> u64 {
        let traffic = || connection.status().traffic;
        let value = match self.by {
            Figure::OpenedAt => return 0,
            Figure::LastActivity => traffic().last_activity.map(|ago| ago.as_millis() as u64),
            Figure::MessagesIn => Some(traffic().messages_in),
            Figure::MessagesOut => Some(traffic().messages_out),
            Figure::BytesIn => Some(traffic().bytes_in),
            Figure::BytesOut => Some(traffic().bytes_out),
            Figure::QueuedBytes => Some(traffic().undelivered_bytes),
            Figure::PingRtt => traffic().ping_rtt.map(|rtt| rtt.as_nanos() as u64),
        };
        match value {
            None => u64::MAX,
            Some(value) if self.largest_first => u64::MAX - 1 - value.min(u64::MAX - 1),
            Some(value) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_has_its_word() {
        for by in Figure::ALL {
            let word = by.as_str();
            assert_eq!(Sort::read(Some(word)).unwrap(), Sort { by, largest_first: false });
            let reversed = format!("-{word}");
            assert_eq!(Sort::read(Some(&reversed)).unwrap(), Sort { by, largest_first: true });
        }
        for wrong in ["", "-", "colour", "-colour", "--opened_at", "opened_at-"] {
            assert!(Sort::read(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_text_is_found_wherever_people_look_for_it() {
        let mut origin = Origin::new(Direction::Inbound);
        origin.user_agent = Some("Mozilla/5.0 (Ünix)".to_owned());
        origin.tags.insert("room".to_owned(), "7".to_owned());
        let id = ConnectionId::new();
        let finds = |text: &str| Search::read(text.to_owned()).unwrap().finds(id, &origin);
        for text in ["mozilla", "MOZILLA/5", "(Ünix", "room:7", &id.short(), &id.to_string()] {
            assert!(finds(text), "{text}");
        }
        for text in ["mozilla ", "room:8", "ünix)", &"x".repeat(LONGEST_SEARCH)] {
            assert!(!finds(text), "{text}");
        }
        assert!(Search::read(String::new()).is_err());
        assert!(Search::read("x".repeat(LONGEST_SEARCH + 1)).is_err());
    }
}
