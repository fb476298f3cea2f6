//! Each case fails at a server that is wrong in it.

use std::collections::{BTreeMap, BTreeSet};

use lastword::probe::{self, Options, TargetOptions, Verdict};

use crate::support::tls::Shared;
use crate::wrong::{self, Flaw};
use crate::{WAIT, options, run, target, verdict};

use Flaw::*;
use Verdict::{Fail, Warn};

/// For each case a server that is wrong in it, and the verdict. It is a warning where the RFC only says
/// SHOULD, or where clients bear it.
const WRONG: &[(&str, Flaw, Verdict)] = &[
    ("open-101", LacksUpgrade, Fail),
    ("open-accept", WrongAccept, Fail),
    ("open-subprotocol", ChoosesSubprotocol, Fail),
    ("open-extension-not-offered", ChoosesExtension, Fail),
    ("open-extension-unknown", RepeatsOffers, Fail),
    ("open-deflate", RepeatsOffers, Fail),
    ("open-version", Careless, Fail),
    ("open-key-missing", Careless, Fail),
    ("open-key-short", Careless, Warn),
    ("open-method", Careless, Fail),
    ("open-no-upgrade", Careless, Fail),
    ("open-no-connection", Careless, Fail),
    ("open-http-10", Careless, Warn),
    ("open-any-case", ExactHeaders, Fail),
    ("frames-legal", MasksFrames, Fail),
    ("ping-pong", NoPongs, Fail),
    ("ping-between-fragments", NoPongs, Fail),
    ("ping-many", NoPongs, Fail),
    ("pong-unsolicited", DiesOnPong, Fail),
    ("close-answer", NeverAnswersClose, Fail),
    ("close-answer-code", OtherCode, Warn),
    ("close-answer-soon", AnswersLate, Warn),
    ("close-ends-tcp", KeepsTcp, Fail),
    ("close-ends-with-fin", ResetsTcp, Warn),
    ("close-is-last", TalksAfterClose, Fail),
    ("tls-close-notify", TlsWithoutCloseNotify, Warn),
    ("close-empty", NeverAnswersClose, Fail),
    ("close-longest-reason", NeverAnswersClose, Fail),
    ("close-with-frames-behind", NeverAnswersClose, Fail),
    ("close-once", ReadsOnAfterClose, Fail),
    ("close-ping-behind", ReadsOnAfterClose, Warn),
    ("close-with-text-behind", ReadsOnAfterClose, Fail),
    ("close-with-fin", NeverAnswersClose, Fail),
    ("close-bytewise", NeverAnswersClose, Fail),
    ("close-inside-message", NeverAnswersClose, Fail),
    ("close-1001", NeverAnswersClose, Fail),
    ("close-4000", NeverAnswersClose, Fail),
    ("close-3000", NeverAnswersClose, Fail),
    ("close-1012", NeverAnswersClose, Fail),
    ("close-after-data", GarblesMessages, Warn),
    ("fail-silent-client", Careless, Warn),
    ("close-0", Careless, Fail),
    ("close-999", Careless, Fail),
    ("close-1004", Careless, Fail),
    ("close-1005", Careless, Fail),
    ("close-1006", Careless, Fail),
    ("close-1015", Careless, Fail),
    ("close-bad-utf8", Careless, Fail),
    ("close-one-byte", Careless, Fail),
    ("close-126-bytes", Careless, Fail),
    ("close-fragmented", Careless, Fail),
    ("close-2999", Careless, Warn),
    ("close-5000", Careless, Warn),
    ("frame-reserved-bit", Careless, Fail),
    ("frame-unmasked", Careless, Fail),
    ("frame-rsv1", Careless, Fail),
    ("frame-rsv2", Careless, Fail),
    ("frame-opcode-3", Careless, Fail),
    ("frame-opcode-7", Careless, Fail),
    ("frame-opcode-11", Careless, Fail),
    ("frame-opcode-15", Careless, Fail),
    ("frame-continuation", Careless, Fail),
    ("frame-message-inside", Careless, Fail),
    ("frame-ping-126", Careless, Fail),
    ("frame-ping-fragmented", Careless, Fail),
    ("frame-length-long", Careless, Warn),
    ("frame-length-top-bit", Careless, Fail),
    ("text-bad-utf8", Careless, Fail),
    ("text-bad-utf8-split", Careless, Fail),
    ("text-cut-short", Careless, Fail),
    ("text-surrogate", Careless, Fail),
    ("text-overlong", Careless, Fail),
    ("text-split-character", GarblesMessages, Fail),
    ("echo-text", RefusesText, Fail),
    ("echo-empty", GarblesMessages, Fail),
    ("echo-125", GarblesMessages, Fail),
    ("echo-126", GarblesMessages, Fail),
    ("echo-65535", GarblesMessages, Fail),
    ("echo-65536", GarblesMessages, Fail),
    ("echo-1-mib", GarblesMessages, Fail),
    ("echo-fragments", GarblesMessages, Fail),
    ("echo-many", GarblesMessages, Fail),
    ("limit-message-size", Careless, Fail),
    ("limit-slow-reader", GarblesMessages, Fail),
    ("limit-idle", ClosesIdleHalf, Fail),
    ("fin-without-close", IgnoresFin, Fail),
    ("fin-inside-frame", IgnoresFin, Fail),
    ("reset-inside-frame", DiesWithClient, Fail),
];

#[test]
fn each_case_has_a_wrong_server() {
    let cases: BTreeSet<_> = probe::all().flat_map(|it| it.cases).map(|case| case.id).collect();
    let held: BTreeSet<_> = WRONG.iter().map(|(id, ..)| *id).collect();
    assert_eq!(held, cases);
    assert_eq!(WRONG.len(), cases.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_server_fails_its_cases() {
    let mut by_flaw: BTreeMap<Flaw, Vec<(&str, Verdict)>> = BTreeMap::new();
    for (id, flaw, verdict) in WRONG {
        by_flaw.entry(*flaw).or_default().push((*id, *verdict));
    }
    let runs = by_flaw.into_iter().map(|(flaw, due)| {
        tokio::spawn(async move {
            let address = wrong::start(flaw).await;
            let (url, ca_file) = match flaw {
                TlsWithoutCloseNotify => {
                    let ca_file = Shared::get().authority.file();
                    (format!("wss://localhost:{}/", address.port()), Some(ca_file))
                }
                _ => (format!("ws://{address}/"), None),
            };
            let wait = if flaw == AnswersLate { 8 * WAIT } else { WAIT };
            let options = Options {
                only: due.iter().map(|(id, _)| (*id).to_owned()).collect(),
                wait,
                idle: Some(4 * WAIT),
                ..options()
            };
            let target = TargetOptions { ca_file, ..target(url) };
            let report = run(target, &options).await;
            let report = report.unwrap_or_else(|error| panic!("{flaw:?}: {error}"));
            for (id, due) in due {
                let (got, said) = verdict(&report, id);
                assert_eq!(got, due, "{id} at {flaw:?}: {said}");
            }
        })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.unwrap();
    }
}

#[tokio::test]
async fn an_idle_cut_without_a_close_is_a_warning_and_a_guess() {
    let address = wrong::start(CutsIdle).await;
    let idle = Some(4 * WAIT);
    let options = Options { only: vec!["limit-idle".to_owned()], idle, full: false, ..options() };
    let report = run(target(format!("ws://{address}/")), &options).await.unwrap();
    assert_eq!(verdict(&report, "limit-idle").0, Warn);
    let guess = report.guess.unwrap();
    assert!(guess.contains("an idle cut") && !guess.contains("FIN instead"), "{guess}");
}

#[tokio::test]
async fn messages_of_the_application_disturb_no_safe_run() {
    let address = wrong::start(Talkative).await;
    let options = Options { full: false, ..options() };
    let report = run(target(format!("ws://{address}/")), &options).await.unwrap();
    for id in ["ping-pong", "close-answer", "close-is-last", "close-empty", "fin-without-close"] {
        let (verdict, said) = verdict(&report, id);
        assert_eq!(verdict, Verdict::Pass, "{id}: {said}");
    }
    assert!(verdict(&report, "close-answer").1.contains("3 messages"));
}

#[tokio::test]
async fn a_server_that_closes_by_policy_is_not_blamed() {
    let address = wrong::start(ClosesByPolicy).await;
    let options = Options { full: false, ..options() };
    let report = run(target(format!("ws://{address}/")), &options).await.unwrap();
    for id in ["ping-pong", "close-answer", "close-empty", "close-1005", "fin-without-close"] {
        let (verdict, said) = verdict(&report, id);
        assert_eq!(verdict, Verdict::Skipped, "{id}: {said}");
    }
    assert_eq!(verdict(&report, "open-accept").0, Verdict::Pass);
}
