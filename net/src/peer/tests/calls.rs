use super::*;
use crate::peer::{BODY_BYTES_MAX, CallError, FrameError, Transport};

#[tokio::test]
async fn a_call_and_its_answer_cross_whole_and_each_side_knows_the_others_key() {
    let book = Book::default();
    let (one, other) = (Peer::start(1, &book, config()), Peer::start(2, &book, config()));
    let asked = range(7, LONG);
    let reply = one.quic.call(other.quic.id(), asked.clone()).await.unwrap();
    assert_eq!(reply.answer, Answer::Bytes);
    assert!(reply.body.len() as u32 == LONG && reply.body.iter().all(|byte| *byte == 7));
    let seen = other.desk.last.lock().unwrap().clone();
    assert_eq!(seen, Some((one.quic.id(), asked)));
    let body = Bytes::from(vec![5; 900_000]);
    let echoed = Call {
        body: body.clone(),
        ..call(Request::Delete)
    };
    assert_eq!(one.quic.call(other.quic.id(), echoed).await.unwrap().body, body);
    // And the other way, over a connection of its own.
    assert!(
        other
            .quic
            .call(one.quic.id(), call(Request::Drives))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn many_calls_at_once_each_get_their_own_answer() {
    let book = Book::default();
    let (one, other) = (Peer::start(1, &book, config()), Peer::start(2, &book, config()));
    let ask = |number: u32| one.quic.call(other.quic.id(), range(number, 1 + number * 997));
    let answers = futures::future::join_all((0..400).map(ask)).await;
    for (number, reply) in (0u32..).zip(answers) {
        let body = reply.unwrap().body;
        assert_eq!(body.len() as u32, 1 + number * 997);
        assert!(body.iter().all(|byte| *byte == number as u8), "answer {number}");
    }
}

#[tokio::test]
async fn whoever_answers_with_another_key_is_not_talked_to() {
    let book = Book::default();
    let (one, other) = (Peer::start(1, &book, config()), Peer::start(2, &book, config()));
    let expected = PeerKey::from_seed(&[3; 32]).id();
    let missing = one.quic.call(expected, call(Request::Drives)).await;
    assert_eq!(missing, Err(CallError::NoAddress(expected)));
    let there = other.quic.local_address().unwrap();
    book.lock().unwrap().insert(expected, there);
    let refused = one.quic.call(expected, call(Request::Drives)).await;
    assert!(
        matches!(refused, Err(CallError::Unreachable { .. })),
        "{refused:?}"
    );
    assert_eq!(other.desk.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_peer_that_is_not_admitted_gets_no_answer_and_one_that_was_put_out_no_further_one() {
    let book = Book::default();
    let (one, other) = (Peer::start(1, &book, config()), Peer::start(2, &book, config()));
    let ask = || one.quic.call(other.quic.id(), call(Request::Drives));
    other.desk.open.store(false, Ordering::SeqCst);
    assert!(ask().await.is_err());
    assert_eq!(other.desk.calls.load(Ordering::SeqCst), 0);
    other.desk.open.store(true, Ordering::SeqCst);
    assert!(ask().await.is_ok());
    other.desk.open.store(false, Ordering::SeqCst);
    let out = ask().await;
    assert!(matches!(out, Err(CallError::Broken { .. })), "{out:?}");
    assert_eq!(other.desk.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_call_that_is_not_answered_ends_and_others_on_the_connection_go_on() {
    let book = Book::default();
    let hasty = QuicConfig {
        call_patience: Duration::from_millis(300),
        ..config()
    };
    let (one, other) = (Peer::start(1, &book, hasty), Peer::start(2, &book, config()));
    let peer = other.quic.id();
    let (late, good) = tokio::join!(one.quic.call(peer, never()), one.quic.call(peer, range(1, 10)));
    assert_eq!(late, Err(CallError::Late { peer, ms: 300 }));
    assert!(good.is_ok());
}

#[tokio::test]
async fn what_is_too_long_is_not_sent() {
    let book = Book::default();
    let (one, other) = (Peer::start(1, &book, config()), Peer::start(2, &book, config()));
    let long = Call {
        body: Bytes::from(vec![0; BODY_BYTES_MAX + 1]),
        ..call(Request::Delete)
    };
    let refused = one.quic.call(other.quic.id(), long).await;
    let got = BODY_BYTES_MAX + 1;
    assert_eq!(refused, Err(CallError::TooLong(FrameError::Body { got })));
    assert_eq!(other.desk.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_peer_that_went_away_and_came_back_elsewhere_is_reached_again() {
    let book = Book::default();
    let (one, other) = (Peer::start(1, &book, config()), Peer::start(2, &book, config()));
    let peer = other.quic.id();
    assert!(one.quic.call(peer, call(Request::Drives)).await.is_ok());
    other.stop().await;
    let back = Peer::start(2, &book, config());
    assert_eq!(back.quic.id(), peer);
    assert!(one.quic.call(peer, call(Request::Drives)).await.is_ok());
}
