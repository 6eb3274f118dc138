//! The receivers, each behind a gate of its own, and their misbehaviour.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use callwatch::demo::{
    receivers::{DEMO_SECRET, Misbehaviour, Refusal, SlackReceiver, SmtpReceiver, Stage, WebhookReceiver},
    world::Receiver,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::gate::{Gate, Hold};

/// Longer than a destination of [`config`](super::config) waits for an answer.
const TOO_LONG: Duration = Duration::from_millis(650);

/// A few KB of gzip that unpack to far more than callwatch reads of an answer.
static BOMB: LazyLock<&'static [u8]> = LazyLock::new(|| {
    let mut bomb = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    for _ in 0..4 {
        bomb.write_all(&[b' '; 1 << 20]).unwrap();
    }
    bomb.finish().unwrap().leak()
});

pub struct Member {
    pub name: &'static str,
    pub receiver: Receiver,
    pub gate: Gate,
}

/// How often each kind of fault happened.
pub type FaultCounts = Arc<Mutex<BTreeMap<&'static str, u64>>>;

pub struct Crowd {
    pub members: Vec<Arc<Member>>,
    pub faults: FaultCounts,
}

impl Crowd {
    pub async fn new() -> Self {
        // Packed beforehand, because packing takes a while and blocks the runtime.
        LazyLock::force(&BOMB);
        let mut members = vec![];
        for name in ["crm", "serial", "bus", "vendor"] {
            let receiver = WebhookReceiver::start([DEMO_SECRET]).await.unwrap();
            let gate = Gate::before(receiver.url().socket_addrs(|| None).unwrap()[0]).await;
            members.push(Arc::new(Member { name, receiver: Receiver::Webhook(receiver), gate }));
        }
        for name in ["frontdesk", "oncall"] {
            let receiver = SlackReceiver::start().await.unwrap();
            let gate = Gate::before(receiver.url().socket_addrs(|| None).unwrap()[0]).await;
            members.push(Arc::new(Member { name, receiver: Receiver::Slack(receiver), gate }));
        }
        let receiver = SmtpReceiver::start().await.unwrap();
        let gate = Gate::before(receiver.addr()).await;
        members.push(Arc::new(Member { name: "manager", receiver: Receiver::Email(receiver), gate }));
        Self { members, faults: FaultCounts::default() }
    }

    /// The address at which callwatch finds a member: that of its gate.
    pub fn address(&self, name: &str) -> String {
        let member = self.members.iter().find(|member| member.name == name).unwrap();
        let addr = member.gate.addr();
        let at_gate = |mut url: url::Url| {
            url.set_port(Some(addr.port())).unwrap();
            url.to_string()
        };
        match &member.receiver {
            Receiver::Webhook(receiver) => at_gate(receiver.url()),
            Receiver::Slack(receiver) => at_gate(receiver.url()),
            Receiver::Email(_) => format!("smtp+insecure://{addr}"),
        }
    }

    /// Makes all of them misbehave, each in its own ways, until `stop`.
    pub fn misbehave(&self, seed: u64, stop: &CancellationToken) -> JoinSet<()> {
        let mut all = JoinSet::new();
        for (number, member) in (0..).zip(&self.members) {
            let random = fastrand::Rng::with_seed(seed.wrapping_add(number));
            all.spawn(misbehave(Arc::clone(member), random, Arc::clone(&self.faults), stop.clone()));
        }
        all
    }
}

impl Member {
    fn is_behaving(&self) -> bool {
        match &self.receiver {
            Receiver::Webhook(receiver) => receiver.is_behaving(),
            Receiver::Slack(receiver) => receiver.is_behaving(),
            Receiver::Email(receiver) => receiver.is_behaving(),
        }
    }

    fn behave(&self) {
        self.gate.open();
        self.gate.hold(Hold::Nothing);
        match &self.receiver {
            Receiver::Webhook(receiver) => receiver.behave(),
            Receiver::Slack(receiver) => receiver.behave(),
            Receiver::Email(receiver) => receiver.behave(),
        }
    }

    /// Makes the next messages fail in some way. Returns a name for it.
    fn spoil_next(&self, random: &mut fastrand::Rng) -> &'static str {
        let n = random.u64(1..4);
        match &self.receiver {
            Receiver::Webhook(receiver) => {
                let (what, how) = http_fault(self.name, random);
                receiver.misbehave(n, how);
                what
            }
            Receiver::Slack(receiver) => {
                let (what, how) = http_fault(self.name, random);
                receiver.misbehave(n, how);
                what
            }
            Receiver::Email(receiver) => {
                let (what, stage, code) = [
                    ("450 first recipient", Stage::Recipient, 450),
                    ("421 greeting", Stage::Greeting, 421),
                    ("451 sender", Stage::Sender, 451),
                    ("450 recipient", Stage::Recipient, 450),
                    ("451 data", Stage::Data, 451),
                    ("452 mail", Stage::Message, 452),
                    ("451 though taken", Stage::Taken, 451),
                    ("421 though taken", Stage::Taken, 421),
                ][random.usize(..8)];
                let n = if what == "450 first recipient" { 1 } else { n };
                receiver.refuse(n, Refusal { stage, code });
                what
            }
        }
    }
}

fn http_fault(name: &str, random: &mut fastrand::Rng) -> (&'static str, Misbehaviour) {
    let status = |code, retry_after| Misbehaviour::Status { code, retry_after };
    match random.u8(..20) {
        0..4 => ("500", status(500, None)),
        4 => ("503 with Retry-After", status(503, Some(1))),
        5 => ("429 with Retry-After", status(429, Some(1))),
        6 => ("429", status(429, None)),
        7 | 8 => ("late or never", Misbehaviour::Delay(TOO_LONG)),
        9..12 => ("reset", Misbehaviour::Reset),
        12..15 => ("answer lost", Misbehaviour::LoseAnswer),
        15..17 => ("gzip bomb", Misbehaviour::Gzip(&BOMB)),
        // `bus` lists this status in `permanent`.
        _ if name == "bus" => ("422", status(422, None)),
        _ => ("404", status(404, None)),
    }
}

async fn misbehave(
    member: Arc<Member>,
    mut random: fastrand::Rng,
    faults: FaultCounts,
    stop: CancellationToken,
) {
    let mischief = async {
        loop {
            sleep(Duration::from_millis(random.u64(..80))).await;
            let until = || Instant::now() + TOO_LONG;
            let what = match random.u8(..12) {
                0 => {
                    member.gate.close();
                    sleep(Duration::from_millis(random.u64(10..200))).await;
                    member.gate.open();
                    "refused connections"
                }
                1 | 2 => {
                    member.gate.cut();
                    "cut connections"
                }
                3 => {
                    member.gate.hold(Hold::Answers(until()));
                    sleep(TOO_LONG).await;
                    "answers after the deadline"
                }
                4 => {
                    member.gate.hold(Hold::Ends(until()));
                    sleep(TOO_LONG).await;
                    "slow answers"
                }
                _ if member.is_behaving() => member.spoil_next(&mut random),
                // The last fault has not happened yet.
                _ => continue,
            };
            *faults.lock().unwrap().entry(what).or_default() += 1;
        }
    };
    stop.run_until_cancelled(mischief).await;
    member.behave();
}
