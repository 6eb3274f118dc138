//! Makes up calls like those of a clinic whose phone is answered by an agent. The same seed makes the same calls.

mod scenes;

use serde_json::{Value, json};

use self::scenes::SCENES;
use crate::time::Timestamp;

/// The clinic's own number, which no caller has.
const CALLED: &str = "+33536490100";

/// The beginnings, before four more digits, of French numbers that are reserved for fiction, so that nobody is ever
/// called by mistake.
const FICTIONAL: [&str; 5] = ["+3363998", "+3319900", "+3326191", "+3335301", "+3346571"];

const CALLERS: [&str; 12] = [
    "Camille Martin",
    "Louis Bernard",
    "Emma Petit",
    "Hugo Moreau",
    "Alice Laurent",
    "Jules Simon",
    "Chloe Michel",
    "Adam Lefebvre",
    "Lina Roux",
    "Gabriel Fournier",
    "Rose Girard",
    "Nina Mercier",
];
const DOCTORS: [&str; 4] = ["Dr. Garnier", "Dr. Chevalier", "Dr. Robin", "Dr. Benoit"];
const DAYS: [&str; 5] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"];
const TIMES: [&str; 5] = ["9:15", "10:30", "2 o'clock", "3:45", "half past four"];

/// Makes up one call after another.
#[derive(Clone, Debug)]
pub struct Clinic {
    rng: fastrand::Rng,
    /// Makes the ids and numbers of one seed differ from those of another.
    origin: u32,
    calls: u32,
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An appointment was made.
    Booked,
    /// A question was answered.
    Answered,
    /// The caller was not happy.
    Unhappy,
    /// The call was an advertisement.
    Spam,
}

/// A kind of conversation. Each call fills in `{caller}`, `{doctor}`, `{day}` and `{time}` in its own way.
#[derive(Debug)]
struct Scene {
    outcome: Outcome,
    /// How often it happens, relative to the other kinds.
    weight: u32,
    summary: &'static str,
    ended_reason: &'static str,
    /// The shortest and the longest duration, in seconds.
    duration: (u32, u32),
    sentiment: &'static str,
    lead_quality: &'static str,
    /// The sentences of the agent and the caller, in turn.
    turns: &'static [&'static str],
}

/// One call, whose whole life is known from its beginning.
#[derive(Clone, Debug)]
pub struct PhoneCall {
    id: String,
    caller: String,
    created: Timestamp,
    seconds: u32,
    scene: &'static Scene,
    /// The words for `{caller}`, `{doctor}`, `{day}` and `{time}`.
    words: [(&'static str, &'static str); 4],
}

impl Clinic {
    /// The clinic of this seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        Self { origin: rng.u32(..), rng, calls: 0 }
    }

    /// The next call, which begins at `created`. No two calls of a clinic share an id, and no two of the first 50,000
    /// share a caller's number.
    pub fn next_call(&mut self, created: Timestamp) -> PhoneCall {
        self.calls += 1;
        let scene = self.scene();
        let seconds = u32::try_from(created.as_secs()).unwrap_or(0);
        PhoneCall {
            id: format!("{seconds:08x}{:08x}{:08x}", self.origin, self.calls),
            caller: self.number(),
            created,
            seconds: self.rng.u32(scene.duration.0..=scene.duration.1),
            scene,
            words: [
                ("{caller}", self.any(&CALLERS)),
                ("{doctor}", self.any(&DOCTORS)),
                ("{day}", self.any(&DAYS)),
                ("{time}", self.any(&TIMES)),
            ],
        }
    }

    fn any(&mut self, words: &[&'static str]) -> &'static str {
        words[self.rng.usize(..words.len())]
    }

    fn scene(&mut self) -> &'static Scene {
        let total: u32 = SCENES.iter().map(|scene| scene.weight).sum();
        let mut at = self.rng.u32(..total);
        for scene in SCENES {
            if at < scene.weight {
                return scene;
            }
            at -= scene.weight;
        }
        &SCENES[0]
    }

    /// The number of the present call. Steps of 7919, a prime, go through all 10,000 numbers of a range before one comes
    /// again, and each time round the ranges are shifted by one.
    fn number(&self) -> String {
        let digits = (u64::from(self.origin) + u64::from(self.calls) * 7919) % 10_000;
        let range = (self.calls + self.calls / 10_000) as usize % FICTIONAL.len();
        format!("{}{digits:04}", FICTIONAL[range])
    }
}

impl PhoneCall {
    /// The call's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The caller's number.
    pub fn caller(&self) -> &str {
        &self.caller
    }

    /// How the call goes.
    pub fn outcome(&self) -> Outcome {
        self.scene.outcome
    }

    /// The caller's mood, in the words of the API's analysis.
    pub fn sentiment(&self) -> &'static str {
        self.scene.sentiment
    }

    /// The API's record while the call is live.
    pub fn live(&self) -> Value {
        json!({
            "id": self.id,
            "status": "live",
            "duration": 0,
            "summary": null,
            "evaluation": null,
            "endedReason": null,
            "callerNumber": self.caller,
            "calledNumber": CALLED,
            "isEngaged": false,
            "callAnalysis": null,
            "transcript": [],
            "createdAt": self.created.to_string(),
            "updatedAt": self.created.to_string(),
        })
    }

    /// The API's record once the call is over, at `at`.
    pub fn ended(&self, at: Timestamp) -> Value {
        let good = matches!(self.scene.outcome, Outcome::Booked | Outcome::Answered);
        let transcript: Vec<Value> = ["assistant", "user"]
            .into_iter()
            .cycle()
            .zip(self.scene.turns)
            .map(|(role, words)| json!({ "role": role, "content": self.fill(words) }))
            .collect();
        let mut record = self.live();
        record["status"] = "completed".into();
        record["duration"] = self.seconds.into();
        record["summary"] = self.fill(self.scene.summary).into();
        record["evaluation"] = if good { "success" } else { "fail" }.into();
        record["endedReason"] = self.scene.ended_reason.into();
        record["isEngaged"] = (self.scene.outcome != Outcome::Spam).into();
        record["transcript"] = transcript.into();
        record["updatedAt"] = at.to_string().into();
        record
    }

    /// The API's record once the call is over and analyzed, at `at`.
    pub fn analyzed(&self, at: Timestamp) -> Value {
        let mut record = self.ended(at);
        record["callAnalysis"] = json!({
            "sentiment": self.scene.sentiment,
            "leadQuality": self.scene.lead_quality,
            "appointmentBooked": self.scene.outcome == Outcome::Booked,
        });
        record
    }

    fn fill(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (gap, word)| text.replace(gap, word))
    }
}
