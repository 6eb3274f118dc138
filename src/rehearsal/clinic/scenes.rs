//! The conversations on the clinic's phone.

use super::{Outcome, Scene};

const HELLO: &str = "Hello, thank you for calling Acme Clinic. How can I help you?";

/// All kinds of conversation.
pub(super) const SCENES: &[Scene] = &[
    Scene {
        outcome: Outcome::Booked,
        weight: 4,
        summary: "{caller} asked for an appointment with {doctor} and took {day} at {time}.",
        ended_reason: "user_hangup",
        duration: (70, 190),
        sentiment: "positive",
        lead_quality: "hot",
        turns: &[
            HELLO,
            "Hi, this is {caller}. I'd like to see {doctor} next week.",
            "With pleasure. {doctor} has a place on {day} at {time}. Would that suit you?",
            "{day} at {time} is perfect.",
            "It is yours. You will get a message the evening before. Is there anything else?",
            "No, that was quick. Thank you!",
        ],
    },
    Scene {
        outcome: Outcome::Booked,
        weight: 2,
        summary: "{caller} moved an appointment with {doctor} to {day} at {time}.",
        ended_reason: "user_hangup",
        duration: (50, 120),
        sentiment: "positive",
        lead_quality: "warm",
        turns: &[
            HELLO,
            "It's {caller}. I can't come tomorrow, could I move it?",
            "Of course. {doctor} is free on {day} at {time}.",
            "Great, I'll take that.",
            "Done: {day} at {time}. See you then.",
        ],
    },
    Scene {
        outcome: Outcome::Answered,
        weight: 3,
        summary: "{caller} asked about opening hours and parking; both were answered.",
        ended_reason: "user_hangup",
        duration: (25, 80),
        sentiment: "neutral",
        lead_quality: "warm",
        turns: &[
            HELLO,
            "Are you open on {day}? And can I park there?",
            "Yes, from eight to six, and there is a car park behind the house.",
            "Thank you, goodbye.",
        ],
    },
    Scene {
        outcome: Outcome::Answered,
        weight: 2,
        summary: "{caller} asked whether test results are there; {doctor} will call back on {day}.",
        ended_reason: "assistant_ended_call",
        duration: (40, 110),
        sentiment: "neutral",
        lead_quality: "warm",
        turns: &[
            HELLO,
            "I'm calling about my blood test. Are the results there?",
            "They came in this morning. {doctor} will call you on {day} to talk them through.",
            "All right, I'll wait for the call.",
        ],
    },
    Scene {
        outcome: Outcome::Unhappy,
        weight: 2,
        summary: "{caller} waited an hour for {doctor}, found nobody to talk to and wants to be called back.",
        ended_reason: "user_hangup",
        duration: (60, 240),
        sentiment: "negative",
        lead_quality: "cold",
        turns: &[
            HELLO,
            "I sat there for an hour on {day} and {doctor} never came. This is not acceptable.",
            "I am very sorry to hear that. May I take this down so that somebody calls you back?",
            "I have explained this twice already. I want to talk to a person.",
            "I understand. I am passing it on right now.",
        ],
    },
    Scene {
        outcome: Outcome::Unhappy,
        weight: 1,
        summary: "{caller} was billed twice for a visit to {doctor} and is annoyed that nobody answered the letter.",
        ended_reason: "user_hangup",
        duration: (80, 200),
        sentiment: "negative",
        lead_quality: "cold",
        turns: &[
            HELLO,
            "You charged me twice, and nobody answers my letters.",
            "I am sorry about that. Could you tell me the date of the invoice?",
            "It is in the letter! Do you people not read?",
        ],
    },
    Scene {
        outcome: Outcome::Spam,
        weight: 1,
        summary: "A recorded voice offered solar panels.",
        ended_reason: "silence_timeout",
        duration: (4, 15),
        sentiment: "neutral",
        lead_quality: "cold",
        turns: &[HELLO, "Good news! Your roof qualifies for free solar panels. Press one to"],
    },
];
