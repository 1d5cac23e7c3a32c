//! Figures against values worked out by hand, and against simulated lives of packs.

use super::*;

const CODE: Code = Code::DEFAULT;

fn domain(number: u8) -> DomainId {
    [number; 16]
}

/// Packs of six shards in these domains; 255 is a missing one.
fn survey(packs: &[[u8; 6]]) -> Survey {
    let mut survey = Survey::default();
    for pack in packs {
        survey.add(CODE, pack.iter().map(|at| (*at != 255).then(|| domain(*at))));
    }
    survey
}

fn close(got: f64, expected: f64, part: f64) {
    assert!(
        (got - expected).abs() <= expected.abs() * part,
        "{got:e} is not {expected:e}"
    );
}

fn given(drive_loss_per_year: f64, repair_hours: f64, domain_loss_per_year: f64) -> Assumptions {
    Assumptions {
        drive_loss_per_year,
        repair_hours,
        domain_loss_per_year,
    }
}

fn chain(stored: usize, spare: usize, fails: f64, mends: f64) -> Chain {
    Chain {
        stored,
        spare,
        fails,
        mends,
    }
}

#[test]
fn the_rate_of_loss_is_that_of_the_textbook() {
    // One copy; a mirror: (3 f + m) / (2 f^2); two spare of three: the sum of three steps.
    close(chain(1, 0, 0.3, 9.0).rate(), 0.3, 1e-12);
    let (f, m) = (0.2, 50.0);
    close(chain(2, 1, f, m).rate(), 2.0 * f * f / (3.0 * f + m), 1e-12);
    let first = 1.0 / (3.0 * f);
    let second = (1.0 + m * first) / (2.0 * f);
    let third = (1.0 + 2.0 * m * second) / f;
    close(chain(3, 2, f, m).rate(), 1.0 / (first + second + third), 1e-12);
    close(chain(2, 1, f, m).falls_from(1), f / (f + m), 1e-12);
    assert_eq!(chain(2, 1, f, m).falls_from(2), 1.0);
    assert_eq!(chain(2, 1, f, m).falls_from(0), 0.0);
}

#[test]
fn small_chances_are_not_lost_in_rounding() {
    // 4+2, two in a hundred drives a year, a day to mend: 60 f^3 / m^2, and 6+6 far below what 1 - x can hold.
    let f = -(-0.02f64).ln_1p();
    let m = 365.25;
    let independent = survey(&[[0, 1, 2, 3, 4, 5]]).independent(&given(0.02, 24.0, 0.0));
    close(independent.pack_loss, 60.0 * f.powi(3) / (m * m), 2e-3);
    close(independent.any_loss, independent.pack_loss, 1e-9);
    let wide = Code::new(6, 6).unwrap();
    let mut survey = Survey::default();
    survey.add(wide, (0..12).map(|at| Some(domain(at))));
    let tiny = survey.independent(&given(0.02, 24.0, 0.0)).pack_loss;
    // 12 f (11 f / m) (10 f / 2m) ... (6 f / 6m)
    let steps =
        (0..=6).map(|step| f64::from(12 - step) * f / if step == 0 { 1.0 } else { f64::from(step) * m });
    close(tiny, steps.product(), 2e-3);
    assert!(tiny < 1e-15 && tiny > 0.0, "{tiny:e}");
    // A thousand million packs are lost as much more often.
    let many = Chances {
        now: 0.0,
        later: 1e9 * tiny,
    };
    close(many.within_a_year(), 1e9 * tiny, 1e-6);
    let never = survey.independent(&given(0.0, 24.0, 0.0));
    assert_eq!((never.pack_loss, never.any_loss), (0.0, 0.0));
    let always = survey.independent(&given(1.0, 1e9, 1.0));
    assert!(always.pack_loss <= 1.0 && always.pack_loss > 0.99);
}

struct Random(u64);

impl Random {
    /// In (0, 1]. Vigna's SplitMix64.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64 + f64::EPSILON / 4.0
    }
}

/// Lives of one pack through a year; the part of them in which it is lost.
fn simulated(domains: &[usize], spare: usize, given: &Assumptions, lives: u32, seed: u64) -> f64 {
    println!("seed {seed}");
    let mut random = Random(seed);
    let fails = -(-given.drive_loss_per_year).ln_1p();
    let mends = HOURS_PER_YEAR / given.repair_hours;
    let mut lost = 0;
    for _ in 0..lives {
        let mut present = domains.to_vec();
        let mut now = 0.0;
        loop {
            let there: usize = present.iter().sum();
            let missing = domains.iter().sum::<usize>() - there;
            if missing > spare {
                lost += 1;
                break;
            }
            let rates = [
                there as f64 * fails,
                missing as f64 * mends,
                domains.len() as f64 * given.domain_loss_per_year,
            ];
            let all: f64 = rates.iter().sum();
            now -= random.next().ln() / all;
            if now > 1.0 {
                break;
            }
            let drawn = random.next() * all;
            if drawn > rates[0] + rates[1] {
                let at = ((random.next() * domains.len() as f64) as usize).min(domains.len() - 1);
                present[at] = 0;
                continue;
            }
            let (from, up) = if drawn <= rates[0] {
                (there, false)
            } else {
                (missing, true)
            };
            let mut nth = ((random.next() * from as f64) as usize).min(from - 1);
            for (there, all) in present.iter_mut().zip(domains) {
                let here = if up { all - *there } else { *there };
                if nth < here {
                    *there = if up { *there + 1 } else { *there - 1 };
                    break;
                }
                nth -= here;
            }
        }
    }
    f64::from(lost) / f64::from(lives)
}

#[test]
fn the_figures_are_those_of_simulated_lives() {
    let spread = survey(&[[0, 1, 2, 3, 4, 5]]);
    let alone = given(0.5, 24.0 * 14.0, 0.0);
    let figure = spread.independent(&alone).pack_loss;
    close(simulated(&[1; 6], 2, &alone, 60_000, 1), figure, 0.1);
    let sites = survey(&[[0, 0, 1, 1, 2, 2]]);
    let shocks = given(0.3, 24.0 * 10.0, 0.2);
    let figure = sites.with_domain_losses(&shocks).pack_loss;
    close(simulated(&[2; 3], 2, &shocks, 60_000, 2), figure, 0.15);
    assert!(figure > 3.0 * sites.independent(&shocks).pack_loss);
    // Three in one domain go with it.
    let crowded = survey(&[[0, 0, 0, 1, 2, 3]]);
    let shocks = given(0.01, 24.0, 0.1);
    let figure = crowded.with_domain_losses(&shocks).pack_loss;
    close(figure, -(-0.1f64).exp_m1(), 0.02);
    close(simulated(&[3, 1, 1, 1], 2, &shocks, 40_000, 3), figure, 0.1);
}

#[test]
fn packs_that_one_domain_takes_with_it_are_lost_together() {
    let one = survey(&[[0, 0, 0, 1, 2, 3]]).with_domain_losses(&given(0.0, 24.0, 0.1));
    let many = survey(&[[0, 0, 0, 1, 2, 3]; 50]).with_domain_losses(&given(0.0, 24.0, 0.1));
    close(many.any_loss, one.any_loss, 1e-9);
    close(many.pack_loss, one.pack_loss, 1e-9);
    let apart: Vec<[u8; 6]> = (0..50).map(|at| [at, at, at, 100, 101, 102]).collect();
    let apart = survey(&apart).with_domain_losses(&given(0.0, 24.0, 0.1));
    close(apart.any_loss, -(-5.0f64).exp_m1(), 0.02);
}

#[test]
fn what_is_missing_now_counts() {
    let whole = survey(&[[0, 1, 2, 3, 4, 5]]);
    let short = survey(&[[0, 1, 2, 3, 255, 255]]);
    let lost = survey(&[[0, 1, 2, 255, 255, 255]]);
    let default = Assumptions::default();
    assert!(short.independent(&default).pack_loss > 1e4 * whole.independent(&default).pack_loss);
    assert_eq!(lost.independent(&default).pack_loss, 1.0);
    assert_eq!(
        (whole.unreadable(), short.unreadable(), lost.unreadable()),
        (0, 0, 1)
    );
    assert_eq!(short.by_missing().into_iter().collect::<Vec<_>>(), [(2, 1)]);
    let mut small = Survey::default();
    // One data shard and the parity are stored, the other three are implied.
    small.add(CODE, [Some(domain(0)), None, None].into_iter());
    assert_eq!(small.unreadable(), 0);
}

#[test]
fn three_sites_survive_what_the_docs_say() {
    let drives = |per_site: u8| -> Vec<(DomainId, bool)> {
        (0..3 * per_site).map(|at| (domain(at % 3), true)).collect()
    };
    let survives = |data: u8, parity: u8| {
        let code = Code::new(data, parity).unwrap();
        let shards = data + parity;
        let mut survey = Survey::default();
        survey.add(code, (0..shards).map(|at| Some(domain(at % 3))));
        survey.survival(code, &drives(shards / 3))
    };
    // 4+8 keeps writing through the loss of a site, 8+4 reads on.
    let wide = survives(4, 8);
    assert!(
        wide.domains
            .iter()
            .all(|loss| loss.writes && loss.packs_unreadable == 0)
    );
    assert_eq!((wide.drives_reading, wide.domains.len()), (Some(8), 3));
    let narrow = survives(8, 4);
    assert!(
        narrow
            .domains
            .iter()
            .all(|loss| !loss.writes && loss.packs_unreadable == 0)
    );
    assert_eq!(narrow.drives_reading, Some(4));
}

#[test]
fn a_layout_survives_as_many_drives_as_the_rule_of_writes_lets_it() {
    let six: Vec<_> = (0..6).map(|at| (domain(at), true)).collect();
    let packs = survey(&[[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 255]]);
    let survival = packs.survival(CODE, &six);
    assert_eq!(
        (survival.drives_reading, survival.drives_writing),
        (Some(1), Some(1))
    );
    assert!(survival.domains.iter().all(|loss| loss.writes));
    assert_eq!(
        survival
            .domains
            .iter()
            .map(|loss| loss.packs_unreadable)
            .sum::<u64>(),
        0
    );
    let eight: Vec<_> = (0..8).map(|at| (domain(at), true)).collect();
    assert_eq!(Survey::default().survival(CODE, &eight).drives_writing, Some(3));
    let one_lost: Vec<_> = (0..6).map(|at| (domain(at), at != 3)).collect();
    assert_eq!(packs.survival(CODE, &one_lost).drives_writing, Some(0));
    let two_lost: Vec<_> = (0..6).map(|at| (domain(at), at > 1)).collect();
    assert_eq!(packs.survival(CODE, &two_lost).drives_writing, None);
    // Two sites: whichever is lost takes too many.
    let two_sites: Vec<_> = (0..6).map(|at| (domain(at % 2), true)).collect();
    assert!(!can_write(CODE, &two_sites));
    let crowded = survey(&[[0, 0, 0, 1, 2, 3]]).survival(CODE, &six);
    let by_domain: Vec<u64> = crowded.domains.iter().map(|loss| loss.packs_unreadable).collect();
    assert_eq!(by_domain, [1, 0, 0, 0, 0, 0]);
}

#[test]
fn writes_survive_exactly_what_trying_every_loss_says() {
    let mut random = Random(7);
    for round in 0..200 {
        let sites = 1 + (random.next() * 5.0) as u8;
        let drives: Vec<(DomainId, bool)> = (0..9)
            .map(|_| {
                (
                    domain((random.next() * f64::from(sites)) as u8),
                    random.next() < 0.9,
                )
            })
            .collect();
        let there: Vec<usize> = (0..9).filter(|at| drives[*at].1).collect();
        let mut worst: Option<usize> = None;
        'counts: for count in 0..=there.len() {
            for mask in 0u32..1 << there.len() {
                if mask.count_ones() as usize != count {
                    continue;
                }
                let mut left = drives.clone();
                (0..there.len())
                    .filter(|at| mask & (1 << at) != 0)
                    .for_each(|at| left[there[at]].1 = false);
                if !can_write(CODE, &left) {
                    break 'counts;
                }
            }
            worst = Some(count);
        }
        let got = Survey::default().survival(CODE, &drives).drives_writing;
        assert_eq!(got, worst, "round {round}: {drives:?}");
    }
}

#[test]
fn what_was_seen_comes_with_what_it_may_be_at_most() {
    let nothing = observed(0, 1_000.0);
    assert_eq!(nothing.rate, 0.0);
    close(nothing.rate_at_most, 2.9957e-3, 1e-3);
    let ten = observed(10, 500.0);
    close(ten.rate, 0.02, 1e-12);
    close(ten.rate_at_most, 16.962 / 500.0, 1e-3);
    assert!(observed(0, 0.0).rate_at_most.is_infinite());
    let many = observed(1_000_000, 1e9);
    assert!(many.rate_at_most > many.rate && many.rate_at_most < 1.01 * many.rate);
}
