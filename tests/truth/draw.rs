//! Draws scripts. Every family has its share of each block, so that a run of any length covers all.

use super::dice::Dice;
use super::plan::{
    Answer, Attempt, BLOCK, Begun, Breach, CAUGHT, Curtain, Kept, Leg, Pace, Place, Plot, Role,
    Route, Said, Script, Standing, Story, Tale, Tcp, Timed, Turn, Way, Words,
};

/// The script of a number.
pub fn script(seed: u64, number: u64) -> Script {
    let mut draw = Draw { dice: Dice::new(seed, number), number, block: number / BLOCK };
    let mark = format!("t{seed:x}-{number}");
    Script { number, mark, plot: draw.plot() }
}

/// Whether the daemon is killed while this one is played.
pub fn is_caught(number: u64) -> bool {
    Curtain::of(number / BLOCK) == Curtain::Killed && number % BLOCK >= BLOCK - CAUGHT
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Closes,
    ClosesAndLeaves,
    Lost,
    Garbage,
    Breaks,
    ApiCloses,
    Cross,
    Aborted,
    Drained,
    RunsOut,
    Revoked,
    Replaced,
    Curtain,
    RelayCloses,
    RelayImpatient,
    RelayCross,
    RelayLost,
    RelayBreaks,
    RelayApi,
    RelayAborted,
    RelayCurtain,
    Kept,
    Attempt,
}

/// How often each family comes in a turn of the wheel.
const WHEEL: [(Family, usize); 23] = {
    use Family::*;
    [
        (Closes, 6),
        (ClosesAndLeaves, 2),
        (Lost, 9),
        (Garbage, 1),
        (Breaks, 6),
        (ApiCloses, 7),
        (Cross, 2),
        (Aborted, 2),
        (Drained, 1),
        (RunsOut, 4),
        (Revoked, 1),
        (Replaced, 1),
        (Curtain, 5),
        (RelayCloses, 5),
        (RelayImpatient, 1),
        (RelayCross, 1),
        (RelayLost, 5),
        (RelayBreaks, 3),
        (RelayApi, 3),
        (RelayAborted, 1),
        (RelayCurtain, 3),
        (Kept, 4),
        (Attempt, 8),
    ]
};

fn family(mut at: usize) -> Family {
    let turn: usize = WHEEL.iter().map(|(_, count)| count).sum();
    at %= turn;
    for (family, count) in WHEEL {
        match at.checked_sub(count) {
            None => return family,
            Some(rest) => at = rest,
        }
    }
    unreachable!("it is within a turn");
}

/// Close codes that may be sent and that `retry` does not judge by themselves.
const NEUTRAL: [u16; 8] = [1000, 1001, 1012, 1013, 3001, 3999, 4000, 4999];
const LEGAL: [u16; 20] = [
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3001, 3008, 3999,
    4000, 4409, 4500, 4999,
];
const ILLEGAL: [u16; 14] =
    [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 65_535];
const REASONS: [&str; 7] = [
    "",
    "bye",
    "going away",
    "späte Grüße",
    "say \"when\"\n",
    "{\"code\":1000}",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012",
];

struct Draw {
    dice: Dice,
    number: u64,
    block: u64,
}

impl Draw {
    fn plot(&mut self) -> Plot {
        let drawn = family((self.number % BLOCK) as usize);
        let waits = [Family::Curtain, Family::RelayCurtain, Family::Drained];
        let family = match drawn {
            // The deadlines of dialers are those of the daemon, and a kill may meet either connection.
            Family::Kept
                if Pace::of_dials(self.block) != Pace::Patient || is_caught(self.number) =>
            {
                Family::RelayLost
            }
            // It would not come to that.
            family if is_caught(self.number) && waits.contains(&family) => Family::Lost,
            family => family,
        };
        match family {
            Family::Attempt => self.attempt(),
            Family::Kept => self.kept(),
            Family::RelayCloses
            | Family::RelayImpatient
            | Family::RelayCross
            | Family::RelayLost
            | Family::RelayBreaks
            | Family::RelayApi
            | Family::RelayAborted
            | Family::RelayCurtain => self.relayed(family),
            family => self.single(family),
        }
    }

    fn single(&mut self, family: Family) -> Plot {
        let mut role = if self.dice.chance(35) { Role::Dialled } else { Role::Inbound };
        let mut tls = self.dice.chance(40) || family == Family::Garbage;
        let timed = match family {
            Family::RunsOut => Some(self.dice.pick(&Timed::ALL)),
            Family::Revoked | Family::Replaced => Some(Timed::Expiry),
            _ => None,
        };
        let way = self.way(family, tls, timed);
        let pace = pace(&way);
        let large = matches!(
            way,
            Way::Breaks(Breach::LargeFrame | Breach::LargeMessage, ..)
                | Way::ApiCloses(_, Answer::Breach(Breach::LargeFrame | Breach::LargeMessage, _))
        );
        // Feeds that are dialled may send more than clients.
        if large || timed.is_some() || (role == Role::Dialled && pace != Pace::of_dials(self.block))
        {
            role = Role::Inbound;
        }
        if timed == Some(Timed::Stall) {
            tls = false;
        }
        let route = timed.map_or(Route::Of(pace), Route::Timed);
        let bare = timed.is_some() || matches!(way, Way::Cross(..) | Way::Aborted(_));
        let place = match &way {
            Way::Lost(_) => self.place(role),
            Way::ApiCloses(_, Answer::Lost(_)) if self.dice.chance(50) => self.place(role),
            Way::Curtain(_, Answer::Silent) if self.dice.chance(50) => self.place(role),
            Way::Closes(Words::Empty | Words::Code(..), _) if self.dice.chance(20) => {
                Place::Fragments(self.dice.within(1..4))
            }
            _ => Place::Between,
        };
        let talk = if timed.is_some() { Vec::new() } else { self.talk() };
        // RST overtakes what has not been read.
        let reset = match &way {
            Way::Lost(Tcp::Reset) | Way::ClosesAndLeaves(_, Tcp::Reset) => true,
            Way::ApiCloses(_, answer) => ends_with(answer) == Some(Tcp::Reset),
            _ => false,
        };
        let awaited = bare || reset || !self.dice.chance(30);
        let pushed = if bare || !self.dice.chance(8) { 0 } else { self.dice.within(1..4) };
        let story = Story { talk, awaited, pushed, place, way };
        Plot::Single { role, tls, route, story }
    }

    fn way(&mut self, family: Family, tls: bool, timed: Option<Timed>) -> Way {
        match family {
            Family::Closes => match self.dice.chance(75) {
                true => Way::Closes(self.legal(), self.tcp(tls)),
                false => Way::Closes(self.illegal(), self.tcp(tls)),
            },
            Family::ClosesAndLeaves => {
                let tcp = self.dice.pick(&[Tcp::Fin, Tcp::Fin, Tcp::Reset]);
                Way::ClosesAndLeaves(self.legal(), tcp)
            }
            Family::Lost => Way::Lost(self.loss(tls)),
            Family::Garbage => Way::Garbage,
            Family::Breaks => {
                let breach = self.breach();
                let answers = breach.leaves_frames() && self.dice.chance(40);
                let answer = answers.then(|| self.neutral());
                // Where linger is short, an answer might come too late.
                let tcp = if answer.is_some() { self.loss(tls) } else { self.tcp(tls) };
                Way::Breaks(breach, answer, tcp)
            }
            Family::ApiCloses => Way::ApiCloses(self.coded(), self.answer(tls)),
            Family::Cross => Way::Cross(self.neutral(), self.neutral()),
            Family::Aborted => Way::Aborted(self.dice.chance(50)),
            Family::Drained => Way::Drained(self.farewell(tls)),
            Family::Revoked => Way::Revoked(self.farewell(tls)),
            Family::Replaced => Way::Replaced(self.farewell(tls)),
            Family::RunsOut => match timed {
                Some(Timed::Pong | Timed::Stall) => Way::RunsOut(Answer::Silent),
                _ => Way::RunsOut(self.farewell(tls)),
            },
            Family::Curtain => {
                let standing =
                    self.dice.pick(&[Standing::Open, Standing::Open, Standing::CloseSent]);
                let answer = match standing {
                    Standing::Open => self.dice.pick(&[Answer::Echo(Tcp::Fin), Answer::Silent]),
                    _ => Answer::Silent,
                };
                Way::Curtain(standing, answer)
            }
            family => unreachable!("{family:?} is none of one connection"),
        }
    }

    fn relayed(&mut self, family: Family) -> Plot {
        let client_tls = self.dice.chance(30);
        let application_tls = self.dice.chance(30);
        let alone = [Family::RelayCurtain, Family::RelayImpatient].contains(&family);
        // The deadlines of dials are those of the daemon.
        let patient = Pace::of_dials(self.block) == Pace::Patient;
        let fed = patient && !alone && self.dice.chance(40);
        let leg = self.dice.pick(&[Leg::Client, Leg::Application]);
        let tls_of = |leg| if leg == Leg::Client { client_tls } else { application_tls };
        let turn = match family {
            Family::RelayCloses => {
                let answer = match self.dice.within(0..10) {
                    0..5 => Answer::Echo(Tcp::Fin),
                    5..7 => Answer::Other(self.neutral(), Tcp::Fin),
                    7 if !fed => Answer::Silent,
                    _ => Answer::Lost(self.loss(tls_of(leg.other()))),
                };
                let words = match (leg, self.dice.chance(15)) {
                    (_, true) => self.neutral(),
                    (_, false) => self.legal(),
                };
                Turn::Closes(leg, words, answer, Tcp::Fin)
            }
            Family::RelayImpatient => Turn::Impatient(Leg::Client, self.legal()),
            Family::RelayCross => Turn::Cross(self.neutral(), self.neutral()),
            Family::RelayLost => {
                let answer = self.dice.pick(&[
                    Answer::Echo(Tcp::Fin),
                    Answer::Echo(Tcp::Fin),
                    Answer::Lost(Tcp::Fin),
                    Answer::Lost(Tcp::Reset),
                ]);
                let inbound = leg == Leg::Client && !fed;
                let role = if inbound { Role::Inbound } else { Role::Dialled };
                Turn::Lost(leg, self.place(role), self.loss(tls_of(leg)), answer)
            }
            Family::RelayBreaks => {
                let breach = loop {
                    match self.breach() {
                        // A relay holds no message, and so limits none.
                        Breach::LargeFrame | Breach::LargeMessage => {}
                        breach => break breach,
                    }
                };
                let answers = breach.leaves_frames() && self.dice.chance(40);
                let answer = answers.then(|| self.neutral());
                Turn::Breaks(leg, breach, answer, Tcp::Fin)
            }
            Family::RelayApi => Turn::ApiCloses(leg, self.neutral(), Tcp::Fin),
            Family::RelayAborted => Turn::Aborted(leg),
            Family::RelayCurtain => {
                let all = [Standing::Open, Standing::Open, Standing::CloseReceived];
                let standing = match Curtain::of(self.block) {
                    Curtain::Killed => self.dice.pick(&all),
                    Curtain::Drained | Curtain::Forced => Standing::Open,
                };
                let answer = match standing {
                    Standing::Open => self.dice.pick(&[Answer::Echo(Tcp::Fin), Answer::Silent]),
                    _ => Answer::Silent,
                };
                Turn::Curtain(standing, answer)
            }
            family => unreachable!("{family:?} is none of a relay"),
        };
        let pace = match &turn {
            Turn::Closes(_, _, Answer::Silent, _) => Pace::Hasty,
            _ => Pace::Patient,
        };
        let tale = Tale { talk: self.talk(), turn };
        Plot::Relayed { fed, client_tls, application_tls, pace, tale }
    }

    fn kept(&mut self) -> Plot {
        let tls = self.dice.chance(30);
        let kept = match self.dice.within(0..4) {
            0 => Kept::Rotated(self.farewell(tls)),
            1 => Kept::Lost(self.loss(tls)),
            2 => Kept::Closes(self.neutral()),
            _ => Kept::Refused(self.dice.pick(&[500, 502, 503])),
        };
        Plot::Kept { tls, kept }
    }

    fn attempt(&mut self) -> Plot {
        let sent = self.dice.within(0..120);
        let reset = self.dice.chance(50);
        let late = match Curtain::of(self.block) {
            Curtain::Drained => Attempt::Late,
            _ => Attempt::NoRoute,
        };
        let all = [
            Attempt::NoRoute,
            Attempt::NotAnUpgrade,
            Attempt::OtherMethod,
            Attempt::BadKey,
            Attempt::Unparsable,
            Attempt::Origin,
            Attempt::Unauthorized(if reset { 401 } else { 403 }),
            Attempt::AuthUnavailable,
            Attempt::TooSlow(sent),
            Attempt::Gone { sent: sent.max(1), reset },
            Attempt::Gone { sent: sent.max(1), reset: !reset },
            Attempt::UntrustedProxy,
            Attempt::NotTls,
            Attempt::TooMany,
            Attempt::BackendUnreachable,
            Attempt::BackendRefuses(if reset { 403 } else { 503 }),
            Attempt::GoneWhileAsked { reset },
            Attempt::DialRefused,
            Attempt::DialRejected(if reset { 404 } else { 500 }),
            Attempt::DialTls,
            Attempt::DialUnanswered,
            late,
        ];
        // One behind the other, so that each comes in every block.
        let turn: usize = WHEEL.iter().map(|(_, count)| count).sum();
        let (turns, at) =
            ((self.number % BLOCK) as usize / turn, self.number as usize % BLOCK as usize % turn);
        Plot::Attempt(all[(turns * 8 + at) % all.len()])
    }

    fn talk(&mut self) -> Vec<Said> {
        let count = self.dice.pick(&[0, 0, 1, 1, 2, 4]);
        (0..count)
            .map(|_| Said {
                binary: self.dice.chance(50),
                length: self.dice.pick(&[0, 1, 5, 125, 126, 127, 1000, 5000, 65_535, 65_536]),
                fragments: self.dice.pick(&[1, 1, 1, 2, 3]),
            })
            .collect()
    }

    /// Any offset of a frame of any kind.
    fn place(&mut self, role: Role) -> Place {
        match self.dice.within(0..10) {
            0..3 => Place::Between,
            3 => Place::Fragments(self.dice.within(1..4)),
            _ => {
                let begun = self.dice.pick(&[
                    Begun::Text,
                    Begun::Binary,
                    Begun::Continuation,
                    Begun::Ping,
                    Begun::Pong,
                    Begun::Close,
                ]);
                let length = match begun {
                    Begun::Text | Begun::Binary | Begun::Continuation => {
                        self.dice.pick(&[1, 5, 125, 126, 1000, 4096])
                    }
                    _ => self.dice.pick(&[2, 9, 125]),
                };
                let header = begun.header_length(length, role.side());
                // Half of them stand in the header, which is much shorter.
                let sent = match self.dice.chance(50) {
                    true => self.dice.within(1..header + 1),
                    false => self.dice.within(header..header + length),
                };
                Place::Inside { begun, length, sent }
            }
        }
    }

    fn loss(&mut self, tls: bool) -> Tcp {
        match tls {
            true => self.dice.pick(&[Tcp::Fin, Tcp::Reset, Tcp::Cut]),
            false => self.dice.pick(&[Tcp::Fin, Tcp::Reset]),
        }
    }

    fn tcp(&mut self, tls: bool) -> Tcp {
        if self.dice.chance(15) { Tcp::Stays } else { self.loss(tls) }
    }

    fn legal(&mut self) -> Words {
        match self.dice.chance(15) {
            true => Words::Empty,
            false => self.coded(),
        }
    }

    fn coded(&mut self) -> Words {
        Words::Code(self.dice.pick(&LEGAL), self.reason())
    }

    fn neutral(&mut self) -> Words {
        Words::Code(self.dice.pick(&NEUTRAL), self.reason())
    }

    /// At most 123 bytes.
    fn reason(&mut self) -> String {
        let reason = self.dice.pick(&REASONS);
        reason[..reason.len().min(123)].to_owned()
    }

    fn illegal(&mut self) -> Words {
        match self.dice.within(0..10) {
            0..6 => Words::Code(self.dice.pick(&ILLEGAL), self.reason()),
            6..8 => Words::OneByte(self.dice.within(0..256) as u8),
            _ => Words::Garbled(self.dice.pick(&NEUTRAL)),
        }
    }

    fn answer(&mut self, tls: bool) -> Answer {
        match self.dice.within(0..12) {
            0..3 => Answer::Echo(self.tcp(tls)),
            3 => Answer::Other(self.neutral(), self.tcp(tls)),
            4 => Answer::Late(self.dice.within(1..4), self.tcp(tls)),
            5 => Answer::Silent,
            6..9 => Answer::Lost(self.loss(tls)),
            9 | 10 => Answer::Breach(self.breach(), self.tcp(tls)),
            _ => Answer::Illegal(self.illegal(), self.tcp(tls)),
        }
    }

    /// An answer for which nothing has to run out.
    fn farewell(&mut self, tls: bool) -> Answer {
        match self.dice.within(0..6) {
            0..3 => Answer::Echo(Tcp::Fin),
            3 => Answer::Other(self.neutral(), self.loss(tls)),
            _ => Answer::Lost(self.loss(tls)),
        }
    }

    fn breach(&mut self) -> Breach {
        match self.dice.within(0..14) {
            0 => Breach::Reserved(self.dice.within(1..8) as u8),
            1 => Breach::Opcode(self.dice.pick(&[3, 4, 5, 6, 7, 11, 12, 13, 14, 15])),
            2 => Breach::Mask,
            3 => Breach::LongControl,
            4 => Breach::FragmentedControl,
            5 => Breach::LongClose,
            6 => Breach::Stray,
            7 => Breach::Nested,
            8 => Breach::TopBit,
            9 => Breach::NotMinimal,
            10 => Breach::Text,
            11 => Breach::TextInFragments,
            12 => Breach::LargeFrame,
            _ => Breach::LargeMessage,
        }
    }
}

/// What has to run out soon in this way, and what must not.
fn pace(way: &Way) -> Pace {
    match way {
        Way::Closes(_, Tcp::Stays) | Way::Breaks(_, _, Tcp::Stays) => Pace::Curt,
        Way::ApiCloses(_, answer) => match ends_with(answer) {
            None => Pace::Hasty,
            Some(Tcp::Stays) => Pace::Curt,
            Some(_) => Pace::Patient,
        },
        _ => Pace::Patient,
    }
}

/// How a peer that answers in this way ends TCP, if it does.
fn ends_with(answer: &Answer) -> Option<Tcp> {
    match answer {
        Answer::Silent => None,
        Answer::Echo(tcp)
        | Answer::Other(_, tcp)
        | Answer::Late(_, tcp)
        | Answer::Lost(tcp)
        | Answer::Breach(_, tcp)
        | Answer::Illegal(_, tcp) => Some(*tcp),
    }
}
