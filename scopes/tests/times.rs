//! The times of grants: one spelling each.

use proptest::prelude::*;
use scopes::Moment;

#[test]
fn times_have_one_spelling() {
    for (text, ms) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2024-02-29T23:59:59Z", 1_709_251_199_000),
        ("2026-06-10T08:14:02Z", 1_781_079_242_000),
        ("9999-12-31T23:59:59Z", 253_402_300_799_000),
    ] {
        assert_eq!(text.parse(), Ok(Moment::from_ms(ms)), "{text}");
        assert_eq!(Moment::from_ms(ms + 999).to_string(), text);
        assert_eq!(text.parse::<Moment>().unwrap().ms(), ms);
    }
    for bad in [
        "",
        "2026-06-10",
        "2026-06-10t08:14:02z",
        "2026-06-10 08:14:02Z",
        "2026-06-10T08:14:02",
        "2026-06-10T08:14:60Z",
        "2026-06-10T24:00:00Z",
        "2026-02-30T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "+026-06-10T08:14:02Z",
        "2026-06-10T08:14:02Z ",
    ] {
        assert!(bad.parse::<Moment>().is_err(), "{bad}");
    }
    assert_eq!(scopes::calendar::days(2026, 2, 30), None);
    assert_eq!(Moment::from_ms(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_second_comes_back(seconds in 0..253_402_300_800_u64) {
        let moment = Moment::from_ms(seconds * 1_000);
        prop_assert_eq!(moment.to_string().parse(), Ok(moment));
        prop_assert_eq!(moment.ms(), seconds * 1_000);
    }
}
