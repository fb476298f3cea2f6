//! Servers that speak something else, or attack the probe.

use std::time::{Duration, Instant};

use lastword::probe::{Options, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::raw_peer::RawPeer;
use crate::support::wire::Wire;
use crate::{WAIT, options, patient, run, take_all, target, verdict};

/// Serves each connection with this; returns the URL.
async fn serve<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    });
    url
}

/// Reads a request, and upgrades it.
async fn upgrade(socket: TcpStream) -> Wire {
    RawPeer::answer(socket, "Server: \u{202e}bad\r\n", &[]).await.into_stream()
}

async fn unreachable(url: String) -> String {
    let began = Instant::now();
    let error = run(target(url), &options()).await.unwrap_err();
    assert!(began.elapsed() < 8 * WAIT, "{:?}", began.elapsed());
    error.to_string()
}

#[tokio::test]
async fn what_is_not_reached_is_told_in_one_sentence() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let said = unreachable(format!("ws://{closed}/?token=secret")).await;
    assert!(said.contains("refused") && !said.contains("secret"), "{said}");
    let said = unreachable("ws://no-such-host.invalid/".to_owned()).await;
    assert!(said.contains("cannot be reached"), "{said}");

    let answer = |answer: &'static str| {
        serve(move |mut socket| async move {
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(answer.as_bytes()).await;
        })
    };
    for (text, said) in [
        ("HTTP/1.1 404 Not Found\r\n\r\n", "HTTP 404 instead of 101: check the path"),
        ("HTTP/1.1 401 No\r\n\r\n", "--header"),
        (
            "HTTP/1.1 301 x\r\nLocation: https://a/?key=secret\r\n\r\n",
            "redirects to https://a/?key=***",
        ),
        ("SSH-2.0-OpenSSH_9\u{1b}[2J\r\n", "does not answer in HTTP/1.1 but with \"SSH-2.0"),
        ("", "ends TCP (FIN) without an answer to the opening handshake; if it speaks TLS"),
    ] {
        let sentence = unreachable(answer(text).await).await;
        assert!(sentence.contains(said) && !sentence.contains("secret"), "{sentence}");
        assert!(!sentence.contains('\u{1b}'), "{sentence:?}");
    }
    let silent = serve(|socket| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(socket);
    });
    let said = unreachable(silent.await).await;
    assert!(said.contains("does not answer the opening handshake within"), "{said}");
    let endless = serve(|mut socket| async move {
        let _ = socket.write_all(b"HTTP/1.1 101 x\r\nA: ").await;
        while socket.write_all(&[b'a'; 8192]).await.is_ok() {}
    });
    let said = unreachable(endless.await).await;
    assert!(said.contains("does not answer in HTTP/1.1"), "{said}");
}

#[tokio::test]
async fn a_safe_run_reads_one_mebibyte_in_all() {
    // A long message to each client; what follows is right.
    let talkative = serve(|socket| async move {
        let mut peer = RawPeer::answer(socket, "", &[]).await;
        peer.binary(vec![0; 400 * 1024]).await;
        take_all(peer).await;
    });
    let only = ["ping-pong", "close-empty", "close-once", "close-1005", "fin-without-close"];
    let safe = Options { full: false, only: only.map(str::to_owned).to_vec(), ..patient() };
    let report = run(target(talkative.await), &safe).await.unwrap();
    let verdicts = only.map(|id| verdict(&report, id));
    assert!(verdicts[..2].iter().all(|(verdict, _)| *verdict == Verdict::Pass), "{verdicts:?}");
    for (verdict, said) in &verdicts[2..] {
        assert_eq!(*verdict, Verdict::Skipped, "{said}");
        assert!(said.contains("a safe run reads 1 MiB at most"), "{said}");
    }
    assert_eq!(report.connections, 3);

    let report = run(target(flood().await), &Options { only: vec![], ..safe }).await.unwrap();
    assert_eq!(report.count(Verdict::Skipped), report.outcomes.len() as u64);
    assert_eq!(report.connections, 1);
}

/// Sends Pings without end, from the first moment on.
async fn flood() -> String {
    serve(|socket| async move {
        let mut socket = upgrade(socket).await;
        let pings = [0x89, 0x01, b'x'].repeat(4096);
        while socket.write_all(&pings).await.is_ok() {}
    })
    .await
}

#[tokio::test]
async fn a_server_that_floods_or_drips_costs_bounded_time_and_memory() {
    // One frame that never ends, byte by byte.
    let drip = serve(|socket| async move {
        let mut socket = upgrade(socket).await;
        let _ = socket.write_all(&[0x82, 0x7f, 0, 0, 0, 0, 0x01, 0, 0, 0]).await;
        while socket.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    for url in [flood().await, drip.await] {
        let began = Instant::now();
        let only = ["close-answer", "close-empty", "fin-without-close"].map(str::to_owned);
        let options = Options { only: only.to_vec(), wait: WAIT / 3, ..options() };
        let report = run(target(url), &options).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        assert_ne!(verdict(&report, "close-answer").0, Verdict::Pass);
        let shown = format!("{:?}{:?}", report.outcomes, report.guess);
        assert!(!shown.contains('\u{202e}'));
        let longest = report.outcomes.iter().map(|outcome| outcome.observed.len()).max();
        assert!(longest.unwrap() < 1000);
    }
}
