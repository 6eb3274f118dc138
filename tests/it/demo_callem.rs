//! The simulated Callem answers as the vendor's documentation says, and fails as it is told to.

use std::{collections::BTreeSet, time::Duration};

use callwatch::{
    demo::callem::{API_KEY, Asked, Failure, Order, SimulatedCallem},
    rehearsal::clinic::Clinic,
    time::Timestamp,
};
use reqwest::{StatusCode, header};
use serde_json::{Value, json};

const NOON: Timestamp = Timestamp::from_millis(1_765_800_000_000);

/// A simulated project and a client of it.
struct Project {
    callem: SimulatedCallem,
    client: reqwest::Client,
}

impl Project {
    async fn with_calls(ids: impl IntoIterator<Item = &'static str>) -> Self {
        let callem = SimulatedCallem::start().await.unwrap();
        for id in ids {
            callem.add(json!({ "id": id, "status": "live" }));
        }
        // Fails only when another test has already done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { callem, client: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.callem.base_url())).bearer_auth(API_KEY)
    }

    async fn json(&self, path: &str) -> (StatusCode, Value) {
        let response = self.get(path).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// The ids of a page, in its order.
    async fn ids(&self, path: &str) -> Vec<String> {
        let (status, page) = self.json(path).await;
        assert_eq!(status, 200, "{page}");
        page["data"].as_array().unwrap().iter().map(|call| call["id"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_page_holds_the_newest_calls_first_and_says_where_it_is() {
    let project = Project::with_calls(["a", "b", "c"]).await;

    let (_, page) = project.json("/calls?limit=2&offset=1").await;

    assert_eq!(
        page,
        json!({
            "data": [{ "id": "b", "status": "live" }, { "id": "a", "status": "live" }],
            "pagination": { "total": 3, "limit": 2, "offset": 1 }
        })
    );
    let (_, page) = project.json("/calls?offset=3").await;
    assert_eq!(page, json!({ "data": [], "pagination": { "total": 3, "limit": 100, "offset": 3 } }));
}

#[tokio::test]
async fn a_single_call_comes_bare_and_an_unknown_one_is_404() {
    let project = Project::with_calls(["a"]).await;

    assert_eq!(project.json("/calls/a").await, (StatusCode::OK, json!({ "id": "a", "status": "live" })));
    assert_eq!(
        project.json("/calls/b").await,
        (StatusCode::NOT_FOUND, json!({ "statusCode": 404, "message": "Call not found" }))
    );
}

#[tokio::test]
async fn only_the_projects_key_is_let_in() {
    let project = Project::with_calls(["a"]).await;

    let (status, body) = project.json("/calls").await;
    assert_eq!((status, body["pagination"]["total"].as_u64()), (StatusCode::OK, Some(1)));

    project.callem.set_key("ck_live_another");
    let refused = json!({ "statusCode": 401, "message": "Invalid API key" });
    assert_eq!(project.json("/calls").await, (StatusCode::UNAUTHORIZED, refused.clone()));
    assert_eq!(project.json("/calls/a").await, (StatusCode::UNAUTHORIZED, refused));
}

#[tokio::test]
async fn parameters_out_of_bounds_are_refused() {
    let project = Project::with_calls([]).await;

    for query in ["limit=0", "limit=1001", "limit=ten", "offset=-1"] {
        let (status, body) = project.json(&format!("/calls?{query}")).await;
        assert_eq!((status, &body["statusCode"]), (StatusCode::BAD_REQUEST, &json!(400)), "{query}");
    }
}

#[tokio::test]
async fn calls_can_be_changed_and_deleted() {
    let project = Project::with_calls(["a", "b", "c"]).await;

    assert!(project.callem.update("b", |call| call["status"] = "completed".into()));
    assert!(project.callem.delete("c"));
    assert!(!project.callem.update("c", |_| ()));
    assert!(!project.callem.delete("c"));

    assert_eq!(project.json("/calls/b").await.1["status"], "completed");
    assert_eq!(project.json("/calls/c").await.0, 404);
    assert_eq!(project.ids("/calls").await, ["b", "a"]);
}

#[tokio::test]
async fn the_order_of_the_list_is_chosen() {
    let project = Project::with_calls(["a", "b", "c"]).await;
    project.callem.update("a", |call| call["status"] = "completed".into());

    project.callem.set_order(Order::OldestFirst);
    project.callem.add(json!({ "id": "d", "status": "live" }));
    assert_eq!(project.ids("/calls").await, ["a", "b", "c", "d"]);

    project.callem.set_order(Order::ByUpdate);
    project.callem.update("b", |call| call["status"] = "completed".into());
    assert_eq!(project.ids("/calls").await, ["b", "d", "a", "c"]);

    project.callem.set_order(Order::NewestFirst);
    assert_eq!(project.ids("/calls").await, ["d", "c", "b", "a"]);
}

#[tokio::test]
async fn a_shuffled_list_keeps_its_order_unless_told_otherwise() {
    let project = Project::with_calls(["a", "b", "c", "d", "e", "f", "g", "h"]).await;

    project.callem.set_order(Order::Shuffled { every_request: false });
    let first = project.ids("/calls").await;
    assert_eq!(project.ids("/calls").await, first);

    project.callem.set_order(Order::Shuffled { every_request: true });
    let mut orders = BTreeSet::new();
    for _ in 0..5 {
        let mut ids = project.ids("/calls").await;
        orders.insert(ids.clone());
        ids.sort();
        assert_eq!(ids, ["a", "b", "c", "d", "e", "f", "g", "h"]);
    }
    assert!(orders.len() > 1, "{orders:?}");
}

#[tokio::test]
async fn a_clamped_page_is_short_and_admits_it() {
    let project = Project::with_calls(["a", "b", "c"]).await;
    project.callem.clamp_limit(Some(2));

    let (_, page) = project.json("/calls?limit=1000").await;

    assert_eq!(page["data"].as_array().unwrap().len(), 2);
    assert_eq!(page["pagination"], json!({ "total": 3, "limit": 2, "offset": 0 }));
}

#[tokio::test]
async fn too_many_requests_a_minute_are_refused_with_a_time_to_come_back() {
    let project = Project::with_calls(["a"]).await;
    project.callem.set_rate_limit(Some(2));
    for _ in 0..2 {
        assert_eq!(project.json("/calls").await.0, 200);
    }

    let response = project.get("/calls/a").send().await.unwrap();

    assert_eq!(response.status(), 429);
    let wait: u64 = response.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    project.callem.set_rate_limit(None);
    assert_eq!(project.json("/calls").await.0, 200);
}

#[tokio::test]
async fn failures_come_as_ordered_and_end() {
    let project = Project::with_calls(["a"]).await;
    let callem = &project.callem;
    callem.fail_next(1, Failure::Status(500));
    callem.fail_next(1, Failure::Unauthorized);
    callem.fail_next(1, Failure::RateLimited { retry_after: Some(Duration::from_millis(1500)) });
    callem.fail_next(1, Failure::Html);
    callem.fail_next(1, Failure::WrongShape);

    assert_eq!(
        project.json("/calls").await,
        (StatusCode::INTERNAL_SERVER_ERROR, json!({ "statusCode": 500, "message": "Internal Server Error" }))
    );
    assert_eq!(project.json("/calls").await.0, 401);
    assert_eq!(project.get("/calls").send().await.unwrap().headers()[header::RETRY_AFTER], "2");
    let html = project.get("/calls").send().await.unwrap();
    assert_eq!(
        (html.status(), &html.headers()[header::CONTENT_TYPE]),
        (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap())
    );
    assert!(project.json("/calls").await.1.get("data").is_none());
    assert_eq!(project.ids("/calls").await, ["a"]);

    callem.fail_next(u64::MAX, Failure::Status(503));
    assert_eq!(project.json("/calls").await.0, 503);
    callem.heal();
    assert_eq!(project.json("/calls").await.0, 200);
}

#[tokio::test]
async fn connections_break_before_and_in_the_middle_of_an_answer() {
    let project = Project::with_calls(["a"]).await;

    project.callem.fail_next(1, Failure::Reset);
    assert!(project.get("/calls").send().await.unwrap_err().is_request());

    project.callem.fail_next(1, Failure::HalfBody);
    let response = project.get("/calls").send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.bytes().await.unwrap_err();

    assert_eq!(project.ids("/calls").await, ["a"]);
}

#[tokio::test]
async fn the_answer_that_first_gave_out_a_call_as_it_is_is_known() {
    let project = Project::with_calls(["a", "b"]).await;
    project.callem.fail_next(1, Failure::HalfBody);
    project.get("/calls").send().await.unwrap().bytes().await.unwrap_err();
    assert_eq!(project.callem.given_out("a"), None, "it did not get there");

    project.ids("/calls?limit=1").await;
    project.json("/calls/a").await;
    project.ids("/calls").await;
    assert_eq!((project.callem.given_out("b"), project.callem.given_out("a")), (Some(1), Some(2)));
    assert_eq!(project.callem.answers(), 3);

    project.callem.update("a", |call| call["status"] = "completed".into());
    assert_eq!(project.callem.given_out("a"), None);
    project.json("/calls/a").await;
    assert_eq!(project.callem.given_out("a"), Some(4));
}

#[tokio::test]
async fn a_slow_answer_is_the_right_one() {
    let project = Project::with_calls(["a"]).await;
    project.callem.fail_next(1, Failure::Slow(Duration::from_millis(150)));

    let asked = std::time::Instant::now();
    assert_eq!(project.ids("/calls").await, ["a"]);
    assert!(asked.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn it_says_what_it_was_asked() {
    let project = Project::with_calls(["a"]).await;
    project.json("/calls?limit=5&offset=2").await;
    project.callem.fail_next(1, Failure::Status(500));
    project.json("/calls/a").await;
    project.callem.wait_for_requests(|counts| counts.total() == 2).await;

    let seen: Vec<_> = project.callem.requests().into_iter().map(|r| (r.asked, r.status)).collect();

    assert_eq!(
        seen,
        [
            (Asked::Page { query: "limit=5&offset=2".to_owned() }, Some(200)),
            (Asked::Call { id: "a".to_owned() }, Some(500)),
        ]
    );
    let counts = project.callem.request_counts();
    assert_eq!((counts.pages, counts.calls, counts.failed), (1, 1, 1));
}

#[tokio::test]
async fn a_hundred_thousand_calls_are_paged_to_the_end() {
    let project = Project::with_calls([]).await;
    project.callem.set_rate_limit(None);
    for id in 0..100_000 {
        project.callem.add(json!({ "id": id.to_string(), "status": "completed" }));
    }

    let mut seen = BTreeSet::new();
    for offset in (0..100_000).step_by(1000) {
        seen.extend(project.ids(&format!("/calls?limit=1000&offset={offset}")).await);
    }

    assert_eq!(seen.len(), 100_000);
}

#[tokio::test]
async fn the_server_stops_with_its_last_handle() {
    let project = Project::with_calls([]).await;
    let url = format!("{}/calls", project.callem.base_url());
    drop(project.callem.clone());
    assert_eq!(project.json("/calls").await.0, 200);

    drop(project);

    let refused = async {
        loop {
            let again = reqwest::Client::builder().no_proxy().build().unwrap().get(&url).send().await;
            if again.is_err_and(|error| error.is_connect()) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused).await.unwrap();
}

#[test]
fn the_same_seed_makes_the_same_calls() {
    let calls = |seed| {
        let mut clinic = Clinic::new(seed);
        (0..200).map(|_| clinic.next_call(NOON).analyzed(NOON)).collect::<Vec<_>>()
    };
    let ours = calls(7);

    assert_eq!(ours, calls(7));
    assert_ne!(ours, calls(8));
    for field in ["id", "callerNumber"] {
        let different: BTreeSet<_> = ours.iter().map(|call| call[field].as_str().unwrap()).collect();
        assert_eq!(different.len(), 200, "{field}");
    }
    let text = Value::from(ours).to_string();
    assert!(
        !text.contains('{') || !text.contains("{caller}") && !text.contains("{day}"),
        "a gap was left open"
    );
}
