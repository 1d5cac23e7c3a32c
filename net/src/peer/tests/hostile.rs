use super::*;
use crate::peer::quic::raw;
use crate::peer::{Refusal, Transport};

/// Every call is answered within this, or the test fails.
const SOON: Duration = Duration::from_secs(5);

/// The first bytes of a call that goes on for 2 MiB.
fn announced() -> Vec<u8> {
    [&[1][..], &100u32.to_le_bytes(), &(2u32 << 20).to_le_bytes()].concat()
}

async fn is_served(one: &Peer, other: &Peer) {
    let asked = one.quic.call(other.quic.id(), range(1, 100_000));
    let reply = tokio::time::timeout(SOON, asked).await.expect("in time");
    assert_eq!(reply.unwrap().body.len(), 100_000);
}

#[tokio::test]
async fn bytes_that_are_no_call_are_refused_and_the_peer_serves_on() {
    let book = Book::default();
    let (one, other) = (Peer::start(1, &book, config()), Peer::start(2, &book, config()));
    let connection = raw::connect(&one.quic, other.quic.id()).await;
    let long_head = [&[1][..], &u32::MAX.to_le_bytes(), &[0; 4]].concat();
    let no_message = [&[1][..], &3u32.to_le_bytes(), &0u32.to_le_bytes(), b"abc"].concat();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 9],
        &long_head,
        &no_message,
        &[],
    ] {
        let reply = raw::exchange(&connection, bytes).await.unwrap();
        assert_eq!(reply.answer, Answer::Refused(Refusal::Malformed), "{bytes:?}");
    }
    assert_eq!(other.desk.calls.load(Ordering::SeqCst), 0);
    is_served(&one, &other).await;
}

#[tokio::test]
async fn answers_that_nobody_takes_are_bounded_and_keep_no_other_peer_waiting() {
    let book = Book::default();
    let narrow = QuicConfig {
        answers_max: 8,
        answers_of_peer_max: 4,
        ..config()
    };
    let other = Peer::start(2, &book, narrow);
    let (greedy, honest) = (Peer::start(1, &book, config()), Peer::start(3, &book, config()));
    let connection = raw::connect(&greedy.quic, other.quic.id()).await;
    let mut untaken = Vec::new();
    for _ in 0..100 {
        untaken.push(raw::ask(&connection, &range(1, LONG)).await);
    }
    // Answered until the windows are full; what is beyond waits for its turn.
    let answered = async {
        while other.desk.calls.load(Ordering::SeqCst) < 4 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, answered)
        .await
        .expect("some are answered");
    is_served(&honest, &other).await;
    let calls = other.desk.calls.load(Ordering::SeqCst);
    assert!(
        calls < 50,
        "{calls} answers of 2 MiB are held for one that takes none"
    );
    drop(untaken);
    is_served(&honest, &other).await;
}

#[tokio::test]
async fn of_an_answer_that_is_given_up_no_more_counts_than_was_handed_over() {
    let book = Book::default();
    let narrow = QuicConfig {
        peer_patience: Duration::from_millis(500),
        ..config()
    };
    let other = Peer::start(2, &book, narrow);
    let one = Peer::start(1, &book, config());
    let whole = one.quic.call(other.quic.id(), range(1, LONG)).await;
    assert_eq!(whole.unwrap().body.len(), LONG as usize);
    let connection = raw::connect(&one.quic, other.quic.id()).await;
    let mut untaken = Vec::new();
    for _ in 0..20 {
        untaken.push(raw::ask(&connection, &range(1, LONG)).await);
    }
    let sent = Arc::clone(&other.desk.sent);
    let given_up = async {
        while sent.lock().unwrap().iter().all(|sent| *sent == u64::from(LONG)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, given_up)
        .await
        .expect("some are given up");
    let sent = sent.lock().unwrap().clone();
    assert_eq!(sent[0], u64::from(LONG), "the one that was taken");
    assert!(sent.iter().all(|sent| *sent <= u64::from(LONG)), "{sent:?}");
    drop(untaken);
}

#[tokio::test]
async fn calls_that_are_announced_and_never_sent_keep_no_other_peer_waiting() {
    let book = Book::default();
    let other = Peer::start(2, &book, config());
    let (slow, honest) = (Peer::start(1, &book, config()), Peer::start(3, &book, config()));
    let connection = raw::connect(&slow.quic, other.quic.id()).await;
    let mut begun = Vec::new();
    for _ in 0..200 {
        begun.push(raw::begin(&connection, &announced()).await);
    }
    is_served(&honest, &other).await;
    assert_eq!(other.desk.calls.load(Ordering::SeqCst), 1);
    drop(begun);
}

#[tokio::test]
async fn a_peer_has_one_connection_and_the_bounds_of_one() {
    let book = Book::default();
    let other = Peer::start(2, &book, config());
    let (many, honest) = (Peer::start(1, &book, config()), Peer::start(3, &book, config()));
    let there = other.quic.local_address().unwrap();
    let mut connections = Vec::new();
    for _ in 0..6 {
        let connection = raw::connect_again(&many.quic, other.quic.id(), there).await;
        for _ in 0..20 {
            // One that was replaced takes no more.
            let _ = raw::try_begin(&connection, &announced()).await;
        }
        connections.push(connection);
    }
    is_served(&honest, &other).await;
    let newest = connections.pop().unwrap();
    for replaced in connections {
        assert!(tokio::time::timeout(SOON, replaced.closed()).await.is_ok());
    }
    assert_eq!(newest.close_reason(), None);
}

#[tokio::test]
async fn peers_beyond_the_places_are_turned_away_and_the_others_served_on() {
    let book = Book::default();
    let few = QuicConfig {
        handshakes_max: 2,
        connections_max: 2,
        ..config()
    };
    let other = Peer::start(2, &book, few);
    let peers: Vec<_> = (10..12).map(|seed| Peer::start(seed, &book, config())).collect();
    for peer in &peers {
        is_served(peer, &other).await;
    }
    let third = Peer::start(12, &book, config());
    assert!(third.quic.call(other.quic.id(), range(1, 10)).await.is_err());
    for peer in &peers {
        is_served(peer, &other).await;
    }
}
