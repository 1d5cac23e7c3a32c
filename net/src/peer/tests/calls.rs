use super::*;
use crate::peer::quic::raw;
use crate::peer::{BODY_BYTES_MAX, CallError, FrameError, Refusal, Transport};

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
    // Not at once: who could not be reached is not dialled again for a moment.
    let admitted = async { while ask().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(5), admitted)
        .await
        .unwrap();
    other.desk.open.store(false, Ordering::SeqCst);
    // The call is refused, or the connection is ended before it, as it is looked at every few seconds.
    match ask().await {
        Ok(reply) => assert_eq!(reply.answer, Answer::Refused(Refusal::NotAllowed)),
        Err(error) => assert!(matches!(error, CallError::Broken { .. }), "{error}"),
    }
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

#[tokio::test]
async fn a_peer_that_crashed_and_is_back_at_its_address_is_reached_at_the_second_call() {
    let book = Book::default();
    let one = Peer::start(1, &book, config());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let other = {
        let _there = runtime.enter();
        Peer::start(2, &book, config())
    };
    let (peer, there) = (other.quic.id(), other.quic.local_address().unwrap());
    assert!(one.quic.call(peer, call(Request::Drives)).await.is_ok());
    // Without its tasks it says no word to anyone.
    runtime.shutdown_background();
    drop(other);
    let free = async {
        while std::net::UdpSocket::bind(there).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), free).await.unwrap();
    let listen = QuicConfig {
        listen: there,
        ..config()
    };
    let _back = Peer::start(2, &book, listen);
    let begun = std::time::Instant::now();
    let first = one.quic.call(peer, call(Request::Drives)).await;
    assert!(matches!(first, Err(CallError::Broken { .. })), "{first:?}");
    assert!(
        begun.elapsed() < config().silence_max / 2,
        "{:?}",
        begun.elapsed()
    );
    assert!(one.quic.call(peer, call(Request::Drives)).await.is_ok());
}

#[tokio::test]
async fn a_peer_that_moved_is_called_where_it_is_now() {
    let book = Book::default();
    let (one, before) = (Peer::start(1, &book, config()), Peer::start(2, &book, config()));
    let peer = before.quic.id();
    assert!(one.quic.call(peer, call(Request::Drives)).await.is_ok());
    let now = Peer::start(2, &book, config());
    assert!(one.quic.call(peer, call(Request::Drives)).await.is_ok());
    assert_eq!(before.desk.calls.load(Ordering::SeqCst), 1);
    assert_eq!(now.desk.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn calls_from_a_socket_of_both_families_share_one_connection() {
    let book = Book::default();
    let both = QuicConfig {
        listen: "[::]:0".parse().unwrap(),
        ..config()
    };
    let (one, other) = (Peer::start(1, &book, both), Peer::start(2, &book, config()));
    let first = raw::connect(&one.quic, other.quic.id()).await;
    let second = raw::connect(&one.quic, other.quic.id()).await;
    assert_eq!(first.stable_id(), second.stable_id());
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_its_call_on_the_other_side() {
    let book = Book::default();
    let narrow = QuicConfig {
        answers_of_peer_max: 1,
        ..config()
    };
    let (one, other) = (Peer::start(1, &book, config()), Peer::start(2, &book, narrow));
    let peer = other.quic.id();
    let asked = async {
        while other.desk.calls.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answered = one.quic.call(peer, never()) => panic!("{answered:?}"),
        () = asked => {}
    }
    // The one turn is free again.
    let next = one.quic.call(peer, range(1, 10)).await.unwrap();
    assert_eq!(next.answer, Answer::Bytes);
}

#[tokio::test]
async fn a_caller_that_goes_away_while_dialling_leaves_the_connection_to_those_who_come() {
    let book = Book::default();
    let (one, other) = (Peer::start(1, &book, config()), Peer::start(2, &book, config()));
    let peer = other.quic.id();
    let gone = tokio::time::timeout(Duration::ZERO, one.quic.call(peer, range(1, 10))).await;
    assert!(gone.is_err());
    let connections = futures::future::join_all((0..5).map(|_| raw::connect(&one.quic, peer))).await;
    let ids: std::collections::BTreeSet<_> = connections
        .iter()
        .map(|connection| connection.stable_id())
        .collect();
    assert_eq!(ids.len(), 1);
}
