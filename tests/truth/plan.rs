//! What a script can be. A script is drawn from its seed and number alone.

use crate::support::frame::{CLOSE, Frame, LengthForm, Masking, PING, PONG, Side, TEXT};

/// How many scripts share one daemon, which ends with them.
pub const BLOCK: u64 = 500;

/// The last ones of a block that ends with a kill are played while it happens.
pub const CAUGHT: u64 = 40;

/// How a daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curtain {
    /// One SIGTERM: it drains, and cuts off at the deadline what is left.
    Drained,
    /// `kill -9`.
    Killed,
    /// SIGTERM, and another once every Close has left.
    Forced,
}

impl Curtain {
    pub fn of(block: u64) -> Self {
        [Self::Drained, Self::Killed, Self::Forced][(block % 3) as usize]
    }
}

/// The deadlines of a route, so that what has to run out does so soon, and nothing else runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Nothing runs out.
    Patient,
    /// `close.timeout` is short: for peers that do not answer.
    Hasty,
    /// `close.linger` is short: for peers that do not end TCP.
    Curt,
}

impl Pace {
    pub const ALL: [Self; 3] = [Self::Patient, Self::Hasty, Self::Curt];

    pub fn word(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::Hasty => "hasty",
            Self::Curt => "curt",
        }
    }

    /// `close.timeout` and `close.linger`.
    pub fn close(self) -> (&'static str, &'static str) {
        match self {
            Self::Patient => ("60s", "30s"),
            Self::Hasty => ("2s", "2s"),
            Self::Curt => ("60s", "300ms"),
        }
    }

    /// Of connections that are dialled, whose deadlines are those of the whole daemon.
    pub fn of_dials(block: u64) -> Self {
        // Three blocks have each of them, and nine have each beside each end of a daemon.
        Self::ALL[((block + block / 3) % 3) as usize]
    }
}

#[derive(Debug, Clone)]
pub struct Script {
    pub number: u64,
    /// What its connections carry in their paths, and nothing else does.
    pub mark: String,
    pub plot: Plot,
}

#[derive(Debug, Clone)]
pub enum Plot {
    /// One connection.
    Single { role: Role, tls: bool, route: Route, story: Story },
    /// A client, a relay and an application; `fed`: a feed that was dialled, in place of the client.
    Relayed { fed: bool, client_tls: bool, application_tls: bool, pace: Pace, tale: Tale },
    /// A dialer, the connections that it makes one behind the other, and its end.
    Kept { tls: bool, kept: Kept },
    /// An opening handshake that fails.
    Attempt(Attempt),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A client of an echo.
    Inbound,
    /// A server that is dialled over the control API.
    Dialled,
}

impl Role {
    /// The side of the peer.
    pub fn side(self) -> Side {
        match self {
            Self::Inbound => Side::Client,
            Self::Dialled => Side::Server,
        }
    }
}

/// Which settings an inbound connection gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Of(Pace),
    Timed(Timed),
}

/// Routes on which something runs out by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timed {
    Pong,
    Idle,
    Age,
    Stall,
    Rate,
    Expiry,
}

impl Timed {
    pub const ALL: [Self; 6] =
        [Self::Pong, Self::Idle, Self::Age, Self::Stall, Self::Rate, Self::Expiry];

    pub fn word(self) -> &'static str {
        match self {
            Self::Pong => "pong",
            Self::Idle => "idle",
            Self::Age => "age",
            Self::Stall => "stall",
            Self::Rate => "rate",
            Self::Expiry => "expiry",
        }
    }
}

/// What happens on one connection.
#[derive(Debug, Clone)]
pub struct Story {
    /// Whole messages before the end.
    pub talk: Vec<Said>,
    /// Each of them is known to have been read before what follows; else all leaves at once.
    pub awaited: bool,
    /// Messages that the control API sends to the peer before the end.
    pub pushed: usize,
    pub place: Place,
    pub way: Way,
}

/// A whole message of a peer.
#[derive(Debug, Clone)]
pub struct Said {
    pub binary: bool,
    pub length: usize,
    pub fragments: usize,
}

impl Said {
    pub fn frames(&self) -> Vec<Frame> {
        let payload = vec![b'm'; self.length];
        let each = (self.length / self.fragments).max(1);
        let mut frames: Vec<Frame> = payload.chunks(each).map(Frame::continuation).collect();
        if frames.is_empty() {
            frames.push(Frame::continuation([]));
        }
        frames[0].opcode = if self.binary { 2 } else { 1 };
        let last = frames.len() - 1;
        frames[..last].iter_mut().for_each(|frame| frame.fin = false);
        frames
    }
}

/// Where in its stream a peer stands when the end begins.
#[derive(Debug, Clone)]
pub enum Place {
    Between,
    /// So many bytes of a frame have left.
    Inside {
        begun: Begun,
        length: usize,
        sent: usize,
    },
    /// So many fragments have left, and the message goes on.
    Fragments(usize),
}

/// The frame that never becomes whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    Text,
    Binary,
    /// The second fragment of a message.
    Continuation,
    Ping,
    Pong,
    Close,
}

impl Begun {
    pub fn frame(self, length: usize) -> Frame {
        let payload = vec![b'p'; length];
        match self {
            Self::Text => Frame::new(TEXT, payload),
            Self::Binary => Frame::binary(payload),
            Self::Continuation => Frame::continuation(payload),
            Self::Ping => Frame::new(PING, payload),
            Self::Pong => Frame::new(PONG, payload),
            Self::Close => Frame::new(CLOSE, [&[3, 232], &payload[2..]].concat()),
        }
    }

    /// Of the header, as this side writes it.
    pub fn header_length(self, length: usize, side: Side) -> usize {
        self.frame(length).encode(side).len() - length
    }
}

impl Place {
    pub fn bytes(&self, side: Side) -> Vec<u8> {
        let fragment = |opcode| Frame::new(opcode, "frag").unfinished().encode(side);
        match self {
            Self::Between => Vec::new(),
            Self::Fragments(count) => {
                let more = (1..*count).map(|_| fragment(0));
                std::iter::once(fragment(TEXT)).chain(more).flatten().collect()
            }
            Self::Inside { begun, length, sent } => {
                let frame = begun.frame(*length).encode(side);
                let before = match begun {
                    Begun::Continuation => fragment(TEXT),
                    _ => Vec::new(),
                };
                [&before, &frame[..*sent]].concat()
            }
        }
    }
}

/// What a Close says, legal or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    Empty,
    Code(u16, String),
    OneByte(u8),
    /// The reason is not UTF-8.
    Garbled(u16),
}

impl Words {
    pub fn frame(&self) -> Frame {
        match self {
            Self::Empty => Frame::close_empty(),
            Self::Code(code, reason) => Frame::close(*code, reason),
            Self::OneByte(byte) => Frame::new(CLOSE, [*byte]),
            Self::Garbled(code) => Frame::close(*code, b"b\xFFd"),
        }
    }
}

/// How TCP ends behind everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tcp {
    Fin,
    Reset,
    /// FIN without close_notify: only over TLS.
    Cut,
    /// The peer leaves it to the other end.
    Stays,
}

/// What a peer does once it has read our Close.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The same Close.
    Echo(Tcp),
    /// Another legal one.
    Other(Words, Tcp),
    /// It sends messages first.
    Late(usize, Tcp),
    Silent,
    /// TCP ends instead.
    Lost(Tcp),
    Breach(Breach, Tcp),
    /// A Close that is illegal.
    Illegal(Words, Tcp),
}

/// How a peer breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    Reserved(u8),
    Opcode(u8),
    Mask,
    LongControl,
    FragmentedControl,
    LongClose,
    Stray,
    Nested,
    TopBit,
    NotMinimal,
    Text,
    TextInFragments,
    LargeFrame,
    LargeMessage,
}

/// `limits.max_frame_size` and `limits.max_message_size` of every route.
pub const LARGEST_FRAME: usize = 100_000;
pub const LARGEST_MESSAGE: usize = 150_000;

impl Breach {
    pub fn bytes(self, side: Side) -> Vec<u8> {
        let wrong = match side {
            Side::Client => Masking::Plain,
            Side::Server => Masking::Key([1, 2, 3, 4]),
        };
        let half = || Frame::text("half").unfinished().encode(side);
        match self {
            Self::Reserved(bits) => Frame::text("x").rsv(bits).encode(side),
            Self::Opcode(opcode) => Frame::new(opcode, "x").encode(side),
            Self::Mask => Frame::text("x").masking(wrong).encode(side),
            Self::LongControl => Frame::ping([b'x'; 126]).encode(side),
            Self::FragmentedControl => Frame::ping("x").unfinished().encode(side),
            Self::LongClose => Frame::close(1000, [b'x'; 124]).encode(side),
            Self::Stray => Frame::continuation("x").encode(side),
            Self::Nested => [half(), Frame::text("b").encode(side)].concat(),
            Self::TopBit => Frame::text("x").encode_with_length(side, LengthForm::TopBit),
            Self::NotMinimal => Frame::text("x").encode_with_length(side, LengthForm::Sixteen),
            Self::Text => Frame::new(TEXT, b"good \xC3\x28".as_slice()).encode(side),
            Self::TextInFragments => {
                [half(), Frame::continuation(b"\xED\xA0\x80".as_slice()).encode(side)].concat()
            }
            Self::LargeFrame => {
                Frame::binary([]).header(side, LARGEST_FRAME as u64 + 1, LengthForm::Minimal)
            }
            Self::LargeMessage => {
                let first = Frame::binary(vec![0; 90_000]).unfinished().encode(side);
                [first, Frame::continuation([]).header(side, 80_000, LengthForm::Minimal)].concat()
            }
        }
    }

    /// Whether what follows it can still be read as frames.
    pub fn leaves_frames(self) -> bool {
        !matches!(self, Self::TopBit | Self::LargeFrame | Self::LargeMessage)
    }

    /// The code of RFC 6455 section 7.4.1 that is due.
    pub fn code(self) -> u16 {
        match self {
            Self::Text | Self::TextInFragments => 1007,
            Self::LargeFrame | Self::LargeMessage => 1009,
            _ => 1002,
        }
    }
}

/// How a connection ends.
#[derive(Debug, Clone)]
pub enum Way {
    Closes(Words, Tcp),
    /// FIN, or RST, right behind the Close, without a look at the answer.
    ClosesAndLeaves(Words, Tcp),
    Lost(Tcp),
    /// Bytes that are not TLS, under TLS.
    Garbage,
    /// `None`: it says no more, but ends TCP.
    Breaks(Breach, Option<Words>, Tcp),
    ApiCloses(Words, Answer),
    /// The API closes while the peer does.
    Cross(Words, Words),
    /// By the API; `true`: behind a Close that was not answered.
    Aborted(bool),
    /// A drain of this one connection.
    Drained(Answer),
    /// What its route has run out; see [`Timed`].
    RunsOut(Answer),
    /// By its subject.
    Revoked(Answer),
    /// Another one of the same subject comes.
    Replaced(Answer),
    /// It stays until the daemon ends; first it gets there.
    Curtain(Standing, Answer),
}

/// Where the closing handshake stands when the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Open,
    CloseSent,
    CloseReceived,
}

/// What happens between a client and an application.
#[derive(Debug, Clone)]
pub struct Tale {
    /// Messages that pass each way first, and are awaited.
    pub talk: Vec<Said>,
    pub turn: Turn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    Client,
    Application,
}

impl Leg {
    pub fn side(self, fed: bool) -> Side {
        match self {
            Self::Client if !fed => Side::Client,
            Self::Client | Self::Application => Side::Server,
        }
    }

    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Application,
            Self::Application => Self::Client,
        }
    }
}

#[derive(Debug, Clone)]
pub enum Turn {
    /// This side closes, and the other one answers.
    Closes(Leg, Words, Answer, Tcp),
    /// This side resets TCP while the other has not answered its Close.
    Impatient(Leg, Words),
    Cross(Words, Words),
    /// `Answer` is what a client does with the Close that it gets.
    Lost(Leg, Place, Tcp, Answer),
    Breaks(Leg, Breach, Option<Words>, Tcp),
    ApiCloses(Leg, Words, Tcp),
    Aborted(Leg),
    Curtain(Standing, Answer),
}

/// What happens to the first connection of a dialer. The second one is closed as the dialer is removed.
#[derive(Debug, Clone)]
pub enum Kept {
    /// Once the second one is open.
    Rotated(Answer),
    Lost(Tcp),
    Closes(Words),
    /// It is refused with this status, and never opens.
    Refused(u16),
}

/// Openings that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    NoRoute,
    NotAnUpgrade,
    OtherMethod,
    BadKey,
    Unparsable,
    Origin,
    Unauthorized(u16),
    AuthUnavailable,
    /// So many bytes of the request, then silence.
    TooSlow(usize),
    /// So many bytes of the request, then the end.
    Gone {
        sent: usize,
        reset: bool,
    },
    UntrustedProxy,
    /// Plain HTTP on a port with TLS.
    NotTls,
    /// From an address that has as many connections as it may.
    TooMany,
    BackendUnreachable,
    BackendRefuses(u16),
    /// While the application is asked.
    GoneWhileAsked {
        reset: bool,
    },
    DialRefused,
    DialRejected(u16),
    DialTls,
    DialUnanswered,
    /// While the daemon drains.
    Late,
}
