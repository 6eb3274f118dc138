//! The planner against thousands of histories of a simulated API: S1, S2, S3, S4 and S6 of the design hold.
//!
//! `CALLWATCH_SIM_CASES` sets how many cases are run.

mod api;
mod driver;
mod edges;

use proptest::{prelude::*, test_runner::Config};

use self::{
    api::{Api, Happening, Manners, Order, State, Total},
    driver::{BELIEVED_AFTER, Driver, What, settings},
};

#[derive(Clone)]
struct Scenario {
    manners: Manners,
    page_size: u32,
    requests_per_minute: u32,
    history: u32,
    live: u32,
    /// Pauses in milliseconds, and what happens after them.
    happenings: Vec<(u16, Happening)>,
    restarts: Vec<u32>,
    seed: u64,
}

/// On one line, so that a failing case can be read.
impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { manners, page_size, requests_per_minute, history, live, happenings, restarts, seed } =
            self;
        write!(
            f,
            "{manners:?}, pages of {page_size}, {requests_per_minute} requests a minute, {history} calls of which \
             {live} are live, {happenings:?}, restarts {restarts:?}, seed {seed}"
        )
    }
}

fn any_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => Just(Happening::Start),
        3 => any::<u16>().prop_map(Happening::Complete),
        3 => any::<u16>().prop_map(Happening::Analyze),
        2 => any::<u16>().prop_map(Happening::Edit),
        2 => any::<u16>().prop_map(Happening::Delete),
    ]
}

fn any_happenings() -> impl Strategy<Value = Vec<(u16, Happening)>> {
    // Bursts, so that much happens between two fetches, and calm.
    let pause = prop_oneof![4 => Just(0u16), 4 => 0u16..400, 2 => 0u16..20_000];
    prop::collection::vec((pause, any_happening()), 0..60)
}

fn any_manners() -> impl Strategy<Value = Manners> {
    let order = prop_oneof![
        4 => Just(Order::Newest),
        2 => Just(Order::Oldest),
        2 => Just(Order::LatestUpdateFirst),
        1 => Just(Order::LatestUpdateLast),
        2 => Just(Order::Shuffled),
        1 => Just(Order::Unstable),
    ];
    let total = prop_oneof![
        4 => Just(Total::True),
        1 => Just(Total::Missing),
        1 => Just(Total::Zero),
        1 => (-9i8..9).prop_map(Total::Off),
        1 => Just(Total::Erratic),
    ];
    (
        order,
        total,
        prop::option::weighted(0.3, 2usize..12),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.8),
        prop::option::weighted(0.2, 4u8..30),
        prop::option::weighted(0.1, 6u8..20),
        prop_oneof![Just(0u16), 0u16..900],
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(order, total, clamp, short, has_get, error_one_in, bad_one_in, latency_ms, flaps)| Manners {
                order,
                total,
                clamp,
                short,
                ignores_offset: false,
                has_get,
                error_one_in,
                bad_one_in,
                latency_ms,
                flaps,
                flaps_updated: false,
                shows_one_in: None,
            },
        )
}

fn any_scenario() -> impl Strategy<Value = Scenario> {
    (
        any_manners(),
        prop_oneof![2u32..12, Just(20), Just(100)],
        prop_oneof![Just(100u32), 60u32..200, Just(1000)],
        0u32..70,
        0u32..6,
        any_happenings(),
        prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(1u32..200, 0..5)],
        any::<u64>(),
    )
        .prop_map(
            |(manners, page_size, requests_per_minute, history, live, happenings, restarts, seed)| Scenario {
                manners,
                page_size,
                requests_per_minute,
                history,
                live,
                happenings,
                restarts,
                seed,
            },
        )
}

/// Time after the last happening in which everything must come to light, and what is granted where the API's
/// manners make a walk over the list long.
const CALM: i64 = 4 * 60_000;
const LONG_CALM: i64 = 100 * 60_000;

fn play(scenario: &Scenario) -> Driver {
    let api = Api::new(scenario.manners.clone(), scenario.history, scenario.live, scenario.seed);
    let mut time = 0;
    let happenings: Vec<_> = scenario
        .happenings
        .iter()
        .map(|(pause, what)| {
            time += i64::from(*pause);
            (time, *what)
        })
        .collect();
    let settings = settings(scenario.page_size, scenario.requests_per_minute, scenario.seed);
    let mut driver = Driver::new(api, settings, happenings, scenario.restarts.clone());
    driver.run(time + CALM);
    while driver.now < time + LONG_CALM && !settled(&driver) {
        driver.run(driver.now + 60_000);
    }
    driver
}

/// Whether everything has come to light.
fn settled(driver: &Driver) -> bool {
    driver.baselined.is_some() && nothing_is_missed(driver).is_ok() && deletions_are_noticed(driver).is_ok()
}

fn cases(default: u32) -> Config {
    let cases = std::env::var("CALLWATCH_SIM_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() }
}

/// S1: every call that is in the list is known in its present state.
fn nothing_is_missed(driver: &Driver) -> Result<(), TestCaseError> {
    for call in driver.api.list.iter().filter(|call| !driver.api.is_bad(call.id)) {
        let known = driver.known(call.id);
        prop_assert_eq!(known, Some((call.version, false)), "call {} of {:?}", call.id, call);
    }
    Ok(())
}

/// S2: every report is of something that was so, and nothing is reported twice.
fn nothing_is_invented(driver: &Driver) -> Result<(), TestCaseError> {
    let mut last: std::collections::BTreeMap<u32, &driver::Report> = Default::default();
    for report in &driver.reports {
        let before = last.insert(report.id, report);
        match report.what {
            What::Deleted => {
                prop_assert!(!driver.api.is_there(report.id), "call {} was never deleted", report.id);
            }
            What::Baselined | What::New => prop_assert!(before.is_none(), "{report:?} after {before:?}"),
            What::Changed => {
                let before = before.expect("changed from something");
                prop_assert!(before.version < report.version, "{report:?} after {before:?}");
            }
        }
    }
    Ok(())
}

/// S3, deletions: what is gone is reported as gone.
fn deletions_are_noticed(driver: &Driver) -> Result<(), TestCaseError> {
    for id in driver.known_ids().filter(|id| !driver.api.is_there(*id)) {
        prop_assert!(matches!(driver.known(id), Some((_, true))), "call {id} is gone");
    }
    Ok(())
}

/// S6: what was there before the first run is not news.
fn the_baseline_is_silent(driver: &Driver, scenario: &Scenario) -> Result<(), TestCaseError> {
    prop_assert!(driver.baselined.is_some());
    for report in driver.reports.iter().filter(|report| report.what == What::New) {
        prop_assert!(report.id >= scenario.history, "{report:?} is not news");
    }
    Ok(())
}

/// S5: no minute holds more requests than the budget.
fn the_budget_is_kept(driver: &Driver, scenario: &Scenario) -> Result<(), TestCaseError> {
    for minute in driver.requests.windows(scenario.requests_per_minute as usize + 1) {
        prop_assert!(minute[minute.len() - 1].at - minute[0].at > 60_000);
    }
    Ok(())
}

const INTERVAL: i64 = 10_000;
const SWEEP: i64 = 60_000;

/// How long after it began a state must be reported, if it lasts.
fn bound(state: &State, before: Option<&State>, scenario: &Scenario) -> i64 {
    // A poll may be late by its jitter, and by the requests before it.
    let poll = INTERVAL + INTERVAL / 20 + 4_000;
    let list_tells = !matches!(scenario.manners.order, Order::Shuffled);
    match before {
        None if list_tells => poll,
        // The count tells only when nothing is deleted at the same time.
        None => SWEEP + 3 * poll,
        Some(before) if before.call.live() => poll,
        Some(before) => match before.call.completed.map(|completed| state.from - completed) {
            Some(age) if !before.call.analyzed && age < 110_000 => 2 * poll + age / 2,
            _ => SWEEP + 3 * poll,
        },
    }
}

/// S3: what lasts is seen in time.
fn nothing_is_late(driver: &Driver, scenario: &Scenario) -> Result<(), TestCaseError> {
    let begun = driver.baselined.unwrap_or(i64::MAX).saturating_add(2 * INTERVAL);
    for (i, state) in driver.api.states.iter().enumerate().filter(|(_, state)| state.from > begun) {
        let known = driver.reports.iter().any(|r| r.id == state.call.id && r.at < state.from);
        let before = driver.api.states[..i].iter().rfind(|before| known && before.call.id == state.call.id);
        let bound = bound(state, before, scenario);
        if state.to.saturating_sub(state.from) > bound {
            let seen = driver
                .reports
                .iter()
                .find(|report| (report.id, report.version) == (state.call.id, state.call.version));
            prop_assert!(
                seen.is_some_and(|report| report.at <= state.from + bound),
                "{state:?} after {before:?} was to be seen within {bound} ms, and was: {seen:?}"
            );
        }
        if state.deleted {
            let deletions = driver.api.states.iter().filter(|state| state.deleted).count();
            // Many that vanish together are doubted for a while. So is an empty list, and a list that is emptied before this
            // deletion is noticed.
            let notice = 3 * SWEEP + 4 * INTERVAL;
            let is_empty_at =
                |at: i64| !driver.api.states.iter().any(|state| state.from <= at && at < state.to);
            let mut ends = driver.api.states.iter().filter(|end| end.deleted).map(|end| end.to);
            let empty = ends.any(|at| (state.to..=state.to + notice).contains(&at) && is_empty_at(at));
            let doubted =
                if deletions > 3 || empty { BELIEVED_AFTER.as_millis() as i64 + 2 * SWEEP } else { 0 };
            let bound = notice + doubted;
            let told = driver.reports.iter().find(|r| r.id == state.call.id && r.what == What::Deleted);
            let known = driver.reports.iter().any(|report| report.id == state.call.id);
            prop_assert!(
                !known || told.is_some_and(|report| report.at <= state.to + bound),
                "the deletion of {state:?} was to be seen within {bound} ms, and was: {told:?}"
            );
        }
    }
    Ok(())
}

/// S4: while nothing changes there is one request per interval, and the sweep.
fn idle_is_cheap(driver: &Driver, scenario: &Scenario) -> Result<(), TestCaseError> {
    let from = driver.now - 3 * SWEEP;
    let requests = driver.requests.iter().filter(|request| request.at > from).count();
    let sweep = driver.api.list.len() as u32 / (scenario.page_size - 1) + 4;
    let allowed = 3 * SWEEP / INTERVAL + 1 + 4 * i64::from(sweep);
    prop_assert!(requests as i64 <= allowed, "{requests} requests, and not {allowed}");
    Ok(())
}

/// A friendly API, and histories that end with nobody on the phone.
fn any_friendly_scenario() -> impl Strategy<Value = Scenario> {
    let total =
        prop_oneof![4 => Just(Total::True), 1 => Just(Total::Missing), 1 => (-9i8..9).prop_map(Total::Off)];
    let pause = prop_oneof![2 => 0u16..400, 3 => 0u16..20_000];
    (any_scenario(), total, 20u32..200, 0u16..300, prop::collection::vec((pause, any_happening()), 0..50))
        .prop_map(|(scenario, total, page_size, latency_ms, mut happenings)| {
            happenings.extend(vec![(2000, Happening::Complete(0)); 40]);
            let manners = Manners {
                order: if scenario.manners.order == Order::Unstable {
                    Order::Newest
                } else {
                    scenario.manners.order
                },
                total,
                clamp: None,
                short: false,
                error_one_in: None,
                bad_one_in: None,
                latency_ms,
                ..scenario.manners
            };
            Scenario {
                manners,
                page_size,
                requests_per_minute: 100,
                restarts: vec![],
                happenings,
                ..scenario
            }
        })
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn any_history_in_any_order_is_followed(scenario in any_scenario()) {
        let driver = play(&scenario);
        nothing_is_missed(&driver)?;
        nothing_is_invented(&driver)?;
        the_budget_is_kept(&driver, &scenario)?;
        if scenario.manners.order != Order::Unstable {
            deletions_are_noticed(&driver)?;
        }
        // A page that is short by chance just when a deletion moves the rest hides a call from the baseline.
        if scenario.manners.order != Order::Unstable && !scenario.manners.short {
            the_baseline_is_silent(&driver, &scenario)?;
        }
    }

    #[test]
    fn everything_is_seen_in_time_and_idling_is_cheap(scenario in any_friendly_scenario()) {
        let mut driver = play(&scenario);
        driver.run(driver.now + CALM);
        nothing_is_missed(&driver)?;
        nothing_is_invented(&driver)?;
        deletions_are_noticed(&driver)?;
        the_baseline_is_silent(&driver, &scenario)?;
        nothing_is_late(&driver, &scenario)?;
        idle_is_cheap(&driver, &scenario)?;
    }
}
