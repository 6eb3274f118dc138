//! Histories picked by hand.

use std::{ops::Range, time::Duration};

use callwatch::{
    callem::budget::Priority,
    sync::planner::{Fetch, Missing, Notice, Planner, Row, Slot, Step, Trouble},
};

use super::{
    api::{Api, Happening, Manners, Order, Total, at},
    driver::{Driver, Request, What, settings},
};

const MINUTE: i64 = 60_000;

fn friendly(order: Order) -> Manners {
    Manners {
        order,
        total: Total::True,
        clamp: None,
        short: false,
        ignores_offset: false,
        has_get: true,
        error_one_in: None,
        bad_one_in: None,
        latency_ms: 50,
        flaps: false,
        flaps_updated: false,
        shows_one_in: None,
    }
}

fn driver(manners: Manners, history: u32, page_size: u32, happenings: Vec<(i64, Happening)>) -> Driver {
    let api = Api::new(manners, history, 0, 1);
    Driver::new(api, settings(page_size, 100, 1), happenings, vec![])
}

/// Swept once an hour only.
fn seldom_swept(manners: Manners, history: u32, happenings: Vec<(i64, Happening)>) -> Driver {
    let mut settings = settings(100, 100, 1);
    settings.sweep = Duration::from_secs(3600);
    Driver::new(Api::new(manners, history, 0, 1), settings, happenings, vec![])
}

/// The times of the requests of walks over the whole list within this time.
fn walking(driver: &Driver, within: Range<i64>) -> Vec<&Request> {
    let is_of_a_walk = |request: &&Request| {
        request.priority == Priority::Sweep && matches!(request.fetch, Fetch::Page { .. })
    };
    driver.requests.iter().filter(is_of_a_walk).filter(|request| within.contains(&request.at)).collect()
}

/// How many passes over the whole list began within this time.
fn walks(driver: &Driver, within: Range<i64>) -> usize {
    let begins = |request: &&&Request| matches!(request.fetch, Fetch::Page { offset: 0, .. });
    walking(driver, within).iter().filter(begins).count()
}

fn new_calls(driver: &Driver) -> Vec<u32> {
    driver.reports.iter().filter(|report| report.what == What::New).map(|report| report.id).collect()
}

#[test]
fn an_empty_project_is_baselined_at_once_and_its_first_call_is_news() {
    let mut driver = driver(friendly(Order::Newest), 0, 100, vec![(MINUTE, Happening::Start)]);
    driver.run(2 * MINUTE);
    assert!(driver.baselined.unwrap() < 1000);
    assert_eq!(driver.notices[0], Notice::BaselineDone { calls: 0 });
    assert_eq!(new_calls(&driver), [0]);
}

#[test]
fn idle_polls_cost_one_request_per_interval_whatever_the_history() {
    for order in
        [Order::Newest, Order::Oldest, Order::LatestUpdateFirst, Order::LatestUpdateLast, Order::Shuffled]
    {
        for history in [0, 1, 2, 30, 700] {
            let mut driver = driver(friendly(order), history, 100, vec![]);
            driver.run(2 * MINUTE);
            let before = driver.requests.len();
            driver.run(7 * MINUTE);
            let polls: Vec<_> = driver.requests[before..]
                .iter()
                .filter(|request| request.priority != Priority::Sweep)
                .collect();
            assert!((29..=31).contains(&polls.len()), "{} polls of {history}, {order:?}", polls.len());
            for poll in polls {
                let Fetch::Page { limit, .. } = poll.fetch else { panic!("{poll:?}") };
                assert!(limit <= 14 || order == Order::Shuffled || history < 100, "{poll:?}, {order:?}");
            }
        }
    }
}

#[test]
fn after_downtime_the_poll_goes_on_until_the_settled_part() {
    for order in [Order::Newest, Order::Oldest] {
        let downtime = (0..350).map(|i| (5 * MINUTE + i, Happening::Start)).collect();
        let mut manners = friendly(order);
        manners.total = Total::Missing;
        let mut driver = driver(manners, 40, 20, downtime);
        driver.run(4 * MINUTE);
        driver.sleep(3 * MINUTE);
        driver.run(8 * MINUTE);
        assert_eq!(new_calls(&driver).len(), 350, "{order:?}");
    }
}

#[test]
fn a_poll_cut_short_by_a_restart_is_made_up_for() {
    let burst = (0..100).map(|i| (2 * MINUTE + i, Happening::Start)).collect();
    let mut manners = friendly(Order::Newest);
    manners.total = Total::Missing;
    let mut driver = driver(manners, 40, 20, burst);
    driver.run(2 * MINUTE + 200);
    while new_calls(&driver).is_empty() {
        driver.run(driver.now + 10);
    }
    assert!(new_calls(&driver).len() < 100, "the poll is still going on");
    driver.restart();
    let restarted = driver.now;
    driver.run(restarted + 20_000);
    assert_eq!(new_calls(&driver).len(), 100);
}

#[test]
fn an_api_that_ignores_the_offset_is_told_of_and_not_asked_for_ever() {
    let mut manners = friendly(Order::Newest);
    manners.ignores_offset = true;
    let mut driver = driver(manners, 300, 100, vec![(3 * MINUTE, Happening::Start)]);
    driver.run(10 * MINUTE);
    let odd =
        driver.notices.iter().filter(|notice| matches!(notice, Notice::Odd(text) if text.contains("offset")));
    assert_eq!(odd.count(), 1);
    assert!(driver.baselined.unwrap() < MINUTE);
    assert_eq!(new_calls(&driver), [300]);
    assert!(driver.reports.iter().all(|report| report.what != What::Deleted));
    assert!(driver.requests.len() < 60 + 10 * 12, "{} requests", driver.requests.len());
}

#[test]
fn a_list_that_turns_round_loses_nothing() {
    let news = (1..=30).map(|i| (i * 20_000, Happening::Start)).collect();
    let mut driver = driver(friendly(Order::Newest), 200, 50, news);
    driver.run(3 * MINUTE);
    driver.api.manners.order = Order::Oldest;
    driver.run(6 * MINUTE);
    driver.api.manners.order = Order::Shuffled;
    driver.run(15 * MINUTE);
    assert_eq!(new_calls(&driver).len(), 30);
    let orders = driver.notices.iter().filter(|notice| matches!(notice, Notice::Order(_))).count();
    assert!((3..=6).contains(&orders), "{:?}", driver.notices);
}

#[test]
fn live_calls_are_looked_at_where_single_calls_cannot_be_had() {
    let mut manners = friendly(Order::Newest);
    manners.has_get = false;
    let mut happenings = vec![(MINUTE, Happening::Start)];
    // The live call sinks deep into the list before it ends.
    happenings.extend((0..60).flat_map(|i| {
        let time = MINUTE + 15_000 + i * 4_000;
        [(time, Happening::Start), (time + 1, Happening::Complete(1))]
    }));
    let ended = MINUTE + 300_000;
    happenings.push((ended, Happening::Complete(0)));
    let mut driver = driver(manners, 100, 20, happenings);
    driver.run(ended + MINUTE);
    let seen = driver.reports.iter().find(|report| report.id == 100 && report.version == 1).unwrap();
    assert!(seen.at - ended <= 12_000, "{} ms", seen.at - ended);
    let odd = driver.notices.iter().filter(|notice| matches!(notice, Notice::Odd(_))).count();
    assert_eq!(odd, 1, "{:?}", driver.notices);
}

#[test]
fn a_deletion_is_told_once_and_soon_and_only_of_what_is_gone() {
    let mut driver = driver(friendly(Order::Newest), 500, 100, vec![(3 * MINUTE, Happening::Delete(77))]);
    driver.run(10 * MINUTE);
    let told: Vec<_> = driver.reports.iter().filter(|report| report.what == What::Deleted).collect();
    assert_eq!(told.len(), 1);
    assert!(!driver.api.is_there(told[0].id));
    assert!(told[0].at - 3 * MINUTE < 90_000, "{}", told[0].at);
}

#[test]
fn a_count_that_does_not_fit_is_looked_into_at_once() {
    let happenings = vec![(10 * MINUTE, Happening::Start), (20 * MINUTE, Happening::Delete(7))];
    let mut driver = seldom_swept(friendly(Order::Shuffled), 450, happenings);
    driver.run(30 * MINUTE);
    let told: Vec<_> =
        driver.reports.iter().filter(|r| matches!(r.what, What::New | What::Deleted)).collect();
    let [new, deleted] = told[..] else { panic!("{told:?}") };
    assert!(new.what == What::New && new.at - 10 * MINUTE < 15_000, "{new:?}");
    // Two walks, and a third because no single call has shown yet that a 404 can be believed.
    assert!(walks(&driver, 20 * MINUTE..deleted.at) >= 3);
    assert!(deleted.what == What::Deleted && deleted.at - 20 * MINUTE < 60_000, "{deleted:?}");
}

#[test]
fn a_total_that_lies_sends_nobody_walking_for_ever() {
    for total in [Total::Erratic, Total::Zero] {
        let happenings = (1..=30).map(|i| (i * 2 * MINUTE, Happening::Start)).collect();
        let mut driver = seldom_swept(Manners { total, ..friendly(Order::Newest) }, 450, happenings);
        driver.run(10 * MINUTE);
        let before = driver.requests.len();
        driver.run(70 * MINUTE);
        let walking =
            driver.requests[before..].iter().filter(|request| request.priority == Priority::Sweep).count();
        assert!(walking < 200, "{walking} requests of walks, {total:?}");
        assert_eq!(new_calls(&driver).len(), 30);
        assert!(driver.notices.iter().any(|n| matches!(n, Notice::Odd(text) if text.contains("total"))));
    }
}

#[test]
fn an_api_that_shows_nothing_for_a_while_has_not_deleted_everything() {
    let mut driver = driver(friendly(Order::Newest), 50, 100, vec![(MINUTE, Happening::Start)]);
    driver.run(3 * MINUTE);
    let list = std::mem::take(&mut driver.api.list);
    driver.run(3 * MINUTE + 15_000);
    driver.api.list = list;
    driver.run(10 * MINUTE);
    assert!(driver.reports.iter().all(|report| report.what != What::Deleted));
}

#[test]
fn pages_of_one_call_are_enough() {
    let happenings = (0..10).map(|i| (MINUTE * i, Happening::Start)).collect();
    let mut driver = driver(friendly(Order::Newest), 10, 1, happenings);
    driver.run(20 * MINUTE);
    assert_eq!(driver.reports.iter().filter(|report| report.what != What::Changed).count(), 20);
}

fn row(slot: Slot, live: bool) -> Row {
    Row {
        slot,
        new: false,
        moved: false,
        ongoing: live,
        analysis_until: None,
        created_at: None,
        updated_at: None,
        deleted: false,
    }
}

fn fetch(planner: &mut Planner, mut now: i64) -> (Fetch, i64) {
    loop {
        match planner.next(at(now)) {
            Step::Fetch(fetch, _) => return (fetch, now),
            Step::Sleep(until) => now = until.as_millis(),
            Step::Notice(_) | Step::Deleted(_) => {}
        }
    }
}

#[test]
fn errors_are_answered_with_longer_and_longer_pauses() {
    let mut planner = Planner::new(settings(100, 100, 1), [], None, at(0));
    let (asked, mut now) = fetch(&mut planner, 0);
    let mut pauses = vec![];
    for _ in 0..12 {
        planner.on_error(Trouble { retry_after: None, refused: false }, at(now));
        let (again, later) = fetch(&mut planner, now);
        assert_eq!(again, asked);
        pauses.push(later - now);
        now = later;
    }
    assert!((2_000..=2_500).contains(&pauses[0]), "{pauses:?}");
    assert!(pauses.windows(2).all(|pair| pair[0] < pair[1] || pair[1] >= 60_000), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= 75_000), "{pauses:?}");

    planner.on_page(&[], 0, Some(0), at(now));
    let (_, now) = fetch(&mut planner, now);
    planner.on_error(Trouble { retry_after: Some(Duration::from_secs(900)), refused: false }, at(now));
    assert_eq!(planner.next(at(now)), Step::Sleep(at(now + 900_000)));
}

#[test]
fn a_refused_key_is_tried_again_slowly() {
    let mut planner = Planner::new(settings(100, 100, 1), [], None, at(0));
    let (_, now) = fetch(&mut planner, 0);
    planner.on_error(Trouble { retry_after: None, refused: true }, at(now));
    let (_, later) = fetch(&mut planner, now);
    assert!(later - now >= 60_000);
}

#[test]
fn polls_that_did_not_happen_are_not_made_up_for() {
    let mut driver = driver(friendly(Order::Newest), 50, 100, vec![]);
    driver.run(2 * MINUTE);
    let before = driver.requests.len();
    // Nobody asks the planner for an hour: the machine slept.
    driver.now += 60 * MINUTE;
    driver.run(driver.now + 10_000);
    assert!(driver.requests.len() - before <= 2 + 4, "{:?}", &driver.requests[before..]);
}

/// The baseline's requests take 100 ms each, so that what happens at a multiple of that happens between two pages.
fn baseline(order: Order, history: u32, page_size: u32, happenings: Vec<(i64, Happening)>) -> Driver {
    let manners = Manners { latency_ms: 100, ..friendly(order) };
    let mut driver = driver(manners, history, page_size, happenings);
    driver.run(2 * MINUTE);
    driver
}

#[test]
fn a_page_that_comes_again_because_calls_before_it_went_is_no_ignored_offset() {
    let gone = [200, 200, 200, 300, 400].map(|time| (time, Happening::Delete(0)));
    let driver = baseline(Order::Oldest, 8, 2, gone.into());
    assert!(!driver.notices.iter().any(|notice| matches!(notice, Notice::Odd(_))), "{:?}", driver.notices);
    assert!(new_calls(&driver).is_empty());
}

#[test]
fn a_call_that_moves_ahead_of_the_baseline_twice_is_still_no_news() {
    let happenings = vec![
        // After two pages calls 0, 1, 9 and 8 come to the top: the first two have not been seen.
        (200, Happening::Edit(0)),
        (200, Happening::Edit(0)),
        (200, Happening::Edit(7)),
        (200, Happening::Edit(6)),
        // The second time round call 0 moves again, and another goes, so that the count fits without it.
        (800, Happening::Edit(6)),
        (800, Happening::Delete(5)),
    ];
    let driver = baseline(Order::LatestUpdateFirst, 10, 3, happenings);
    assert_eq!(driver.reports.iter().filter(|report| report.what == What::Baselined).count(), 10);
    assert!(new_calls(&driver).is_empty());
}

#[test]
fn a_new_call_before_many_that_moved_to_the_end_is_seen() {
    let mut happenings = vec![(10 * MINUTE, Happening::Start)];
    happenings.extend([(10 * MINUTE + 1, Happening::Edit(0)); 12]);
    let manners = Manners { total: Total::Missing, ..friendly(Order::LatestUpdateLast) };
    let mut driver = seldom_swept(manners, 60, happenings);
    driver.run(10 * MINUTE + 11_000);
    assert_eq!(new_calls(&driver), [60]);
}

#[test]
fn a_new_call_below_many_that_were_seen_to_change_is_seen() {
    // The live calls are far down when they end.
    let buried = vec![(5 * MINUTE, Happening::Edit(0)); 30];
    let manners = Manners { total: Total::Missing, ..friendly(Order::LatestUpdateFirst) };
    let mut settings = settings(20, 100, 1);
    settings.sweep = Duration::from_secs(3600);
    let mut driver = Driver::new(Api::new(manners, 60, 12, 1), settings, buried, vec![]);
    driver.run(10 * MINUTE);
    // Between a poll and the looks at them that follow it.
    while !matches!(driver.requests.last().map(|last| last.fetch), Some(Fetch::Page { offset: 0, .. })) {
        driver.run(driver.now + 1);
    }
    let now = driver.now;
    driver.api.happen(Happening::Start, now);
    for _ in 0..12 {
        driver.api.happen(Happening::Complete(0), now + 1);
    }
    driver.run(now + 11_000);
    assert_eq!(new_calls(&driver), [60]);
}

#[test]
fn a_poll_goes_on_while_a_live_call_cannot_be_found() {
    let mut happenings = vec![(10 * MINUTE, Happening::Complete(0))];
    happenings.extend([(10 * MINUTE + 1, Happening::Edit(0)); 12]);
    let manners = Manners { has_get: false, ..friendly(Order::LatestUpdateLast) };
    let mut settings = settings(40, 100, 1);
    settings.sweep = Duration::from_secs(3600);
    let mut driver = Driver::new(Api::new(manners, 60, 1, 1), settings, happenings, vec![]);
    driver.run(10 * MINUTE + 11_000);
    assert_eq!(driver.known(59), Some((1, false)));
}

#[test]
fn a_call_that_cannot_be_had_does_not_make_a_suspect_forgotten() {
    // The list ends with a live call; after it there was another.
    let known: Vec<Row> = (0..21).map(|slot| row(slot, slot == 19)).collect();
    let checkpoint = serde_json::json!({ "order": "newest-first", "length": 21 });
    let mut planner = Planner::new(settings(10, 100, 1), known.clone(), Some(&checkpoint), at(0));
    let (mut now, mut walks, mut verified) = (0, 0, 0);
    loop {
        match planner.next(at(now)) {
            Step::Sleep(until) => now = until.as_millis(),
            Step::Notice(_) => {}
            Step::Deleted(slot) => break assert_eq!((slot, walks), (20, 2)),
            Step::Fetch(Fetch::Page { offset, limit }, _) => {
                walks += u32::from(offset == 20);
                let rows = &known[offset as usize..20.min(offset as usize + limit as usize)];
                planner.on_page(rows, rows.len(), Some(20), at(now));
            }
            // The live call can be had at first, the suspect only when asked for again.
            Step::Fetch(Fetch::Call(19), _) if walks == 0 => planner.on_call(Some(known[19]), at(now)),
            Step::Fetch(Fetch::Call(20), _) if verified == 1 => planner.on_call(None, at(now)),
            Step::Fetch(Fetch::Call(slot), _) => {
                verified += u32::from(slot == 20);
                planner.on_error(Trouble { retry_after: None, refused: false }, at(now));
            }
        }
    }
}

#[test]
fn a_sweep_that_must_start_over_is_over_in_time_all_the_same() {
    let manners = Manners { total: Total::Missing, latency_ms: 100, ..friendly(Order::Newest) };
    let mut driver = driver(manners, 47, 48, vec![]);
    let first_pages = |driver: &Driver| {
        let first = |request: &&Request| matches!(request.fetch, Fetch::Page { offset: 0, limit: 48 });
        driver.requests.iter().filter(first).count()
    };
    let pass = |driver: &mut Driver| {
        let before = first_pages(driver);
        while first_pages(driver) == before {
            driver.run(driver.now + 1);
        }
    };
    driver.run(3 * MINUTE);
    pass(&mut driver);
    let start = driver.now;
    driver.api.happen(Happening::Start, start);
    pass(&mut driver);
    let edit = driver.now;
    driver.api.happen(Happening::Edit(0), edit);
    driver.run(start + 61_000);
    assert_eq!(driver.known(0), Some((1, false)));
}

fn deleted(driver: &Driver) -> Vec<u32> {
    driver.reports.iter().filter(|report| report.what == What::Deleted).map(|report| report.id).collect()
}

fn missing(driver: &Driver) -> Vec<Missing> {
    let of = |notice: &Notice| if let Notice::Missing(missing) = notice { Some(*missing) } else { None };
    driver.notices.iter().filter_map(of).collect()
}

fn is_whole_again(driver: &Driver) -> bool {
    driver.notices.contains(&Notice::Whole)
}

#[test]
fn a_list_that_is_empty_for_a_while_deletes_nothing() {
    for (history, live) in [(8, 2), (300, 3)] {
        for order in [Order::Newest, Order::Shuffled] {
            let api = Api::new(friendly(order), history, live, 1);
            let mut driver = Driver::new(api, settings(100, 100, 1), vec![], vec![]);
            driver.run(2 * MINUTE);
            driver.api.manners.shows_one_in = Some(0);
            driver.run(4 * MINUTE);
            let all = u64::from(history);
            let gone = Missing { calls: all, known: all };
            assert_eq!((missing(&driver)[0], driver.doubted()), (gone, Some(gone)));
            // Neither does a restart in the middle of it.
            driver.restart();
            assert_eq!(driver.doubted(), Some(gone));
            driver.run(6 * MINUTE);
            assert!(!is_whole_again(&driver));
            driver.api.manners.shows_one_in = None;
            driver.run(9 * MINUTE);
            assert!(is_whole_again(&driver), "{order:?}");
            assert_eq!(driver.doubted(), None);
            assert_eq!(deleted(&driver), [0; 0]);
            assert_eq!(driver.reports.len(), history as usize, "{order:?}: nothing but the baseline");
        }
    }
}

#[test]
fn a_list_that_shows_a_part_of_the_calls_deletes_nothing_and_news_go_on() {
    let mut driver = driver(friendly(Order::Newest), 100, 100, vec![(4 * MINUTE, Happening::Start)]);
    driver.run(2 * MINUTE);
    driver.api.manners.shows_one_in = Some(2);
    driver.run(6 * MINUTE);
    assert_eq!(missing(&driver)[0].calls, 50);
    assert_eq!(new_calls(&driver), [100]);
    driver.api.manners.shows_one_in = None;
    driver.run(9 * MINUTE);
    assert_eq!(deleted(&driver), [0; 0]);
    assert!(is_whole_again(&driver));
}

#[test]
fn many_calls_that_stay_away_are_deleted_in_the_end_also_over_restarts() {
    for has_get in [true, false] {
        let manners = Manners { has_get, ..friendly(Order::Newest) };
        let purge = (0..20).map(|_| (2 * MINUTE, Happening::Delete(0))).collect();
        let mut driver = driver(manners, 60, 100, purge);
        for minute in 2..6 {
            driver.run(minute * MINUTE);
            driver.restart();
        }
        assert_eq!(deleted(&driver), [0; 0]);
        driver.run(16 * MINUTE);
        assert_eq!(deleted(&driver).len(), 20);
        assert!(is_whole_again(&driver));
    }
}

#[test]
fn a_purge_that_goes_on_and_on_is_told_within_a_few_sweeps() {
    // One of the oldest of 300 calls every 4 s, and as many new ones.
    let happenings =
        (30..300).flat_map(|i| [(i * 4000, Happening::Delete(0)), (i * 4000 + 1, Happening::Start)]);
    let api = Api::new(friendly(Order::Newest), 300, 0, 1);
    let mut driver = Driver::new(api, settings(100, 200, 1), happenings.collect(), vec![]);
    driver.run(20 * MINUTE);
    assert_eq!(missing(&driver), []);
    assert!(deleted(&driver).len() > 200);
    for report in driver.reports.iter().filter(|report| report.what == What::Deleted) {
        let state =
            driver.api.states.iter().find(|state| state.call.id == report.id && state.deleted).unwrap();
        assert!(report.at - state.to < 3 * MINUTE, "{report:?} of {}", state.to);
    }
}

#[test]
fn the_pace_stays_that_of_interval_whatever_flaps() {
    for order in [Order::Newest, Order::Oldest, Order::LatestUpdateFirst, Order::Shuffled] {
        for (history, live) in [(3, 0), (3, 3), (40, 1), (700, 0)] {
            let pace = |flaps| {
                let manners = Manners { flaps, ..friendly(order) };
                let mut driver =
                    Driver::new(Api::new(manners, history, live, 1), settings(100, 100, 1), vec![], vec![]);
                driver.run(10 * MINUTE);
                assert!(driver.baselined.unwrap() < MINUTE, "{order:?} {history}");
                driver.requests.len()
            };
            let (calm, flapping) = (pace(false), pace(true));
            assert!(flapping <= calm + 2, "{order:?} {history} {live}: {flapping} requests, and not {calm}");
        }
    }
}

#[test]
fn even_times_that_flap_are_found_out_and_then_cost_nothing() {
    for (order, history) in
        [(Order::Newest, 3), (Order::Newest, 40), (Order::Newest, 300), (Order::Oldest, 300)]
    {
        let pace = |flaps| {
            let manners = Manners { flaps, flaps_updated: flaps, ..friendly(order) };
            let mut driver = driver(manners, history, 100, vec![]);
            driver.run(2 * MINUTE);
            assert!(driver.baselined.is_some_and(|at| at < 2 * MINUTE));
            let before = driver.requests.len();
            driver.run(12 * MINUTE);
            driver.requests.len() - before
        };
        let (calm, flapping) = (pace(false), pace(true));
        assert!(flapping <= calm + calm / 10 + 3, "{order:?} {history}: {flapping} requests, and not {calm}");
    }
}

#[test]
fn a_purge_that_is_faster_than_the_sweeps_is_no_doubt() {
    // Every minute 20 of 400 calls go, fewer than a tenth: they are looked for again in the next walks.
    let happenings: Vec<_> =
        (3..9).flat_map(|minute| (0..20).map(move |n| (minute * MINUTE + n, Happening::Delete(0)))).collect();
    for has_get in [true, false] {
        let manners = Manners { has_get, ..friendly(Order::Newest) };
        let mut driver =
            Driver::new(Api::new(manners, 400, 0, 1), settings(100, 200, 1), happenings.clone(), vec![]);
        driver.run(14 * MINUTE);
        assert_eq!(missing(&driver), [], "{has_get}");
        assert_eq!(deleted(&driver).len(), 120, "{has_get}");
    }
}

#[test]
fn an_empty_list_of_a_few_calls_is_doubted_for_a_while_and_then_believed() {
    for history in 1..=3 {
        let shows = |shown_again: bool| {
            let mut settings = settings(100, 100, 1);
            settings.deletions_believed_after = Duration::from_secs(24 * 3600);
            let mut driver =
                Driver::new(Api::new(friendly(Order::Newest), history, 0, 1), settings, vec![], vec![]);
            driver.run(2 * MINUTE);
            driver.api.manners.shows_one_in = Some(0);
            driver.run(10 * MINUTE);
            assert_eq!(deleted(&driver), [0; 0]);
            assert!(!missing(&driver).is_empty());
            driver.api.manners.shows_one_in = shown_again.then_some(1).or(Some(0));
            driver.run(16 * MINUTE);
            deleted(&driver).len()
        };
        assert_eq!((shows(true), shows(false)), (0, history as usize));
    }
}

#[test]
fn missing_calls_are_looked_for_until_it_is_sure_and_then_no_more_often_than_ever() {
    for proven in [false, true] {
        let mut happenings = vec![];
        if proven {
            // A live call so far down that it is asked for by itself.
            happenings.push((MINUTE, Happening::Start));
            happenings.extend((0..120).flat_map(|i| {
                let time = MINUTE + 15_000 + i * 1000;
                [(time, Happening::Start), (time + 1, Happening::Complete(1))]
            }));
            happenings.push((8 * MINUTE, Happening::Complete(0)));
        }
        let mut driver = seldom_swept(friendly(Order::Newest), 450, happenings);
        driver.run(10 * MINUTE);
        let gets = driver.requests.iter().filter(|request| matches!(request.fetch, Fetch::Call(_))).count();
        assert_eq!(gets > 0, proven);
        driver.api.manners.shows_one_in = Some(2);
        driver.run(20 * MINUTE);
        // Each walk that misses them is told of.
        assert_eq!(missing(&driver).len(), if proven { 2 } else { 3 });
    }
}

#[test]
fn a_call_that_cannot_be_had_by_itself_is_asked_for_once_after_each_walk() {
    // The list ends with a live call; after it there was another.
    let known: Vec<Row> = (0..21).map(|slot| row(slot, slot == 19)).collect();
    let checkpoint = serde_json::json!({ "order": "newest-first", "length": 21 });
    let mut planner = Planner::new(settings(10, 100, 1), known.clone(), Some(&checkpoint), at(0));
    let (mut now, mut walks, mut asked) = (0, 0, vec![]);
    loop {
        match planner.next(at(now)) {
            Step::Sleep(until) => now = until.as_millis(),
            Step::Notice(_) => {}
            Step::Deleted(slot) => break assert_eq!((slot, asked), (20, vec![2, 3])),
            Step::Fetch(Fetch::Page { offset, limit }, _) => {
                walks += u32::from(offset == 20);
                let rows = &known[offset as usize..20.min(offset as usize + limit as usize)];
                planner.on_page(rows, rows.len(), Some(20), at(now));
            }
            Step::Fetch(Fetch::Call(20), _) => {
                asked.push(walks);
                assert!(asked.len() < 3, "{asked:?}");
                match walks {
                    2 => planner.on_call_unavailable(),
                    _ => planner.on_call(None, at(now)),
                }
            }
            Step::Fetch(Fetch::Call(slot), _) => planner.on_call(Some(known[slot as usize]), at(now)),
        }
    }
}

#[test]
fn a_call_that_goes_past_a_walk_is_seen_by_a_poll_and_costs_no_second_pass() {
    let manners = Manners { total: Total::Missing, ..friendly(Order::LatestUpdateFirst) };
    let mut driver = driver(manners, 60, 20, vec![]);
    driver.run(3 * MINUTE);
    let begun = walks(&driver, 0..driver.now);
    while walks(&driver, 0..driver.now) == begun {
        driver.run(driver.now + 1);
    }
    let now = driver.now;
    driver.run(now + 1000);
    // The last of the list goes to its beginning.
    driver.api.happen(Happening::Edit(0), now + 1000);
    driver.run(now + 115_000);
    assert_eq!(driver.known(0), Some((1, false)));
    assert_eq!(walks(&driver, now..driver.now), 1, "{:?}", walking(&driver, now - 1000..driver.now));
}

#[test]
fn in_a_list_without_an_order_only_a_single_get_tells_a_deletion() {
    let manners = Manners { has_get: false, ..friendly(Order::Unstable) };
    let mut driver = driver(manners, 450, 100, vec![(3 * MINUTE, Happening::Delete(7))]);
    driver.run(20 * MINUTE);
    assert_eq!(deleted(&driver), [0; 0]);
}

#[test]
fn the_order_is_told_with_what_it_costs_to_poll_it() {
    let told = |driver: &Driver| {
        let text = |notice: &Notice| if let Notice::Order(text) = notice { Some(text.clone()) } else { None };
        driver.notices.iter().filter_map(text).next_back().unwrap()
    };
    let unknown = "the list is in no order callwatch knows";
    let walk = "7 requests, 0.1 minutes of the budget";
    let by_total = format!("{unknown}: when `total` changes callwatch walks all of it ({walk})");
    let by_sweep = format!(
        "{unknown}: new calls are found within one sweep ({walk}); a shorter `sweep` finds them sooner"
    );
    for (total, text) in [(Total::True, &by_total), (Total::Missing, &by_sweep), (Total::Erratic, &by_sweep)]
    {
        let mut driver = seldom_swept(Manners { total, ..friendly(Order::Newest) }, 450, vec![]);
        // Within the hour a total that lies is found out.
        driver.run(60 * MINUTE);
        assert_eq!(told(&driver), "the list is newest first: a poll is one request");
        driver.api.manners.order = Order::Shuffled;
        driver.run(65 * MINUTE);
        assert_eq!(told(&driver), *text, "{total:?}");
    }
}

#[test]
fn a_walk_is_spread_over_the_time_of_a_sweep_where_pages_are_short() {
    let manners = Manners { clamp: Some(10), ..friendly(Order::Newest) };
    let mut driver = seldom_swept(manners, 200, vec![]);
    driver.run(50 * MINUTE);
    let pages = walking(&driver, 10 * MINUTE..50 * MINUTE);
    assert!(pages.len() > 10);
    assert!(pages.windows(2).all(|pair| pair[1].at - pair[0].at > 2 * MINUTE), "{pages:?}");
}

#[test]
fn a_total_that_follows_a_call_that_comes_and_goes_is_no_lie() {
    let mut driver = seldom_swept(friendly(Order::Shuffled), 450, vec![]);
    for round in 1..=5 {
        driver.run(round * 10 * MINUTE);
        let call = driver.api.list.remove(7);
        driver.run(driver.now + 12_000);
        assert!(walks(&driver, round * 10 * MINUTE..driver.now) > 0, "the total sends it walking");
        driver.api.list.insert(7, call);
    }
    driver.run(60 * MINUTE);
    assert_eq!(deleted(&driver), [0; 0]);
    assert!(!driver.notices.iter().any(|notice| matches!(notice, Notice::Odd(_))), "{:?}", driver.notices);
}

#[test]
fn by_how_much_the_total_is_off_is_known_after_a_restart() {
    for off in [-3, 0, 3] {
        let manners = Manners { total: Total::Off(off), ..friendly(Order::Newest) };
        let mut driver = seldom_swept(manners, 450, vec![(10 * MINUTE, Happening::Start)]);
        driver.run(15 * MINUTE);
        driver.restart();
        let restarted = driver.now;
        driver.run(restarted + 5 * MINUTE);
        let pages = walking(&driver, restarted..driver.now);
        assert_eq!(pages.len(), 1, "the first of a sweep that takes its time, {off}: {pages:?}");
    }
}

#[test]
fn a_call_that_comes_back_can_be_deleted_again() {
    let mut driver = driver(friendly(Order::Newest), 60, 100, vec![]);
    driver.run(3 * MINUTE);
    let call = driver.api.list.remove(7);
    driver.run(6 * MINUTE);
    assert_eq!(deleted(&driver), [call.id]);
    driver.restart();
    driver.run(7 * MINUTE);
    driver.api.list.insert(7, call.clone());
    driver.run(9 * MINUTE);
    assert_eq!(driver.known(call.id), Some((call.version, false)));
    driver.api.list.remove(7);
    driver.run(12 * MINUTE);
    assert_eq!(deleted(&driver), [call.id, call.id]);
    // Of the others none is missing.
    driver.api.manners.shows_one_in = Some(0);
    driver.run(15 * MINUTE);
    assert_eq!(missing(&driver)[0], Missing { calls: 59, known: 59 });
}

#[test]
fn calls_may_be_missing_from_hundreds_of_walks_and_come_back_all_the_same() {
    let mut settings = settings(100, 100, 1);
    settings.deletions_believed_after = Duration::from_secs(24 * 3600);
    let mut driver = Driver::new(Api::new(friendly(Order::Newest), 20, 0, 1), settings, vec![], vec![]);
    driver.run(2 * MINUTE);
    driver.api.manners.shows_one_in = Some(0);
    driver.run(6 * 60 * MINUTE);
    assert!(walks(&driver, 2 * MINUTE..driver.now) > 300);
    assert!(!is_whole_again(&driver));
    driver.api.manners.shows_one_in = None;
    driver.run(driver.now + 3 * MINUTE);
    assert!(is_whole_again(&driver));
    assert_eq!(deleted(&driver), [0; 0]);
}
