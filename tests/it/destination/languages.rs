//! Messages in the reader's language, as they arrive.

use base64::{Engine, engine::general_purpose::STANDARD};
use callwatch::{
    config::LoadOptions,
    config_file::Config,
    destination::{WebhookConfig, WebhookFormat},
    event::Severity,
};
use serde_json::Value;
use wiremock::ResponseTemplate;

use super::{
    email::{MANAGER, email, header, parts},
    own_body,
    slack::{posted_ruled, text, title},
    smtp::SmtpReceiver,
    webhook::{only_request, receiver, webhook},
    *,
};

fn reading(language: Language) -> impl Fn(&mut DestinationConfig) {
    move |config| {
        config.language = language;
        config.timezone = Zone::parse("Europe/Paris").unwrap();
    }
}

/// Subject, text and HTML of a mail.
pub(super) async fn mail(language: Language, event: &Event, rules: &Rules) -> [String; 3] {
    mail_with(reading(language), event, rules).await
}

async fn mail_with(adjust: impl Fn(&mut DestinationConfig), event: &Event, rules: &Rules) -> [String; 3] {
    let receiver = SmtpReceiver::start().await;
    let mut config = config(DestinationKind::Email(email(&receiver, MANAGER)));
    adjust(&mut config);
    let answer = deliver_ruled(&config, event, rules).await;
    assert_eq!(answer.reaction, Reaction::Delivered, "{}", answer.result);
    let mail = receiver.only_mail().text;
    let [text, html] = parts(&mail);
    [decoded(&header(&mail, "Subject")), text, html]
}

/// A header without its encoding (RFC 2047).
fn decoded(header: &str) -> String {
    let mut text = String::new();
    let mut was_encoded = false;
    for (place, word) in header.split(' ').enumerate() {
        let encoded = word.strip_prefix("=?utf-8?b?").and_then(|word| word.strip_suffix("?="));
        // The space between two encoded words is no part of the text.
        if place > 0 && !(was_encoded && encoded.is_some()) {
            text.push(' ');
        }
        match encoded {
            Some(encoded) => text.push_str(&String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()),
            None => text.push_str(word),
        }
        was_encoded = encoded.is_some();
    }
    text
}

/// The text with marks in place of its no-break spaces: `_` for those between a number and its unit, `~` for the narrow ones.
fn marked(text: &str) -> String {
    text.trim_end().replace('\u{a0}', "_").replace('\u{202f}', "~")
}

/// An alert that a destination has taken nothing for a while.
pub(super) fn failing() -> Event {
    let details = json!({
        "since": "2025-12-15T14:00:00.000Z", "error": "connection refused", "waiting": 148, "resumes": true
    });
    Event {
        subject: Subject::Destination("crm".into()),
        kinds: Kind::DestinationFailing.into(),
        changes: Changes::default(),
        rule: "[alerts]".into(),
        record: raw(&details.to_string()),
        ..event(Kind::Updated)
    }
}

/// Three calls told as one.
pub(super) fn digest() -> Event {
    let events =
        [call("unhappy", 1, "negative"), call("booked", 2, "positive"), call("booked", 3000, "positive")];
    summary(Reason::Digest, &events)
}

/// The rules of the digest: one with the default title, and one with a title of its own that tells a time.
pub(super) fn both_rules() -> Rules {
    let own = "Booked on {{ event.time|local_time('Europe/Paris') }}";
    let booked = text(Some(own), None, Severity::Info);
    let unhappy = text(None, None, Severity::Warning);
    RuleSet::of(&[rule(&"booked".into(), &booked), rule(&"unhappy".into(), &unhappy)])
}

/// What a reader of one language gets to read.
struct Expected {
    language: Language,
    subject: &'static str,
    call: &'static str,
    fields: [&'static str; 9],
    foot: &'static str,
    digest: &'static str,
    digest_line: &'static str,
    health: &'static str,
    health_words: &'static str,
}

async fn assert_reads(expected: Expected) {
    let Expected { language, .. } = expected;
    // A mail about a call, and the same in Slack.
    let none = Rules::default();
    let [subject, text, html] = mail(language, &event(Kind::Ended), &none).await;
    assert_eq!(marked(&subject), expected.subject);
    assert_eq!(marked(&text), expected.call);
    let lang = format!("<html lang=\"{language}\">");
    let first = marked(text.lines().next().unwrap());
    assert!(
        html.contains(&lang) && marked(&html).contains(&format!("{}</h1>", first.replace(" · ", "_· "))),
        "{html}"
    );
    let message = posted_ruled(reading(language), &event(Kind::Ended), &none).await;
    assert_eq!(marked(title(&message)), first);
    let fields = message["blocks"][3]["fields"].as_array().unwrap();
    let fields: Vec<_> =
        fields.iter().map(|field| marked(&field["text"].as_str().unwrap().replace('\n', " "))).collect();
    assert_eq!(fields, expected.fields);
    assert_eq!(foot(&message), expected.foot);

    // A digest.
    let [subject, text, html] = mail(language, &digest(), &both_rules()).await;
    assert_eq!(marked(&text), expected.digest);
    assert_eq!(marked(&subject), marked(text.lines().next().unwrap()));
    assert!(html.contains(&lang));
    let message = posted_ruled(reading(language), &digest(), &both_rules()).await;
    let lines = message["blocks"][3]["text"]["text"].as_str().unwrap();
    assert_eq!(marked(lines.lines().next().unwrap()), expected.digest_line);

    // callwatch itself.
    let [_, text, html] = mail(language, &failing(), &none).await;
    assert_eq!(marked(&text), expected.health);
    assert!(html.contains(&lang));
    let message = posted_ruled(reading(language), &failing(), &none).await;
    assert_eq!(marked(message["text"].as_str().unwrap()), expected.health_words);
}

/// The last block of a Slack message.
fn foot(message: &Value) -> String {
    let foot = message["blocks"].as_array().unwrap().last().unwrap();
    marked(foot["elements"][0]["text"].as_str().unwrap())
}

#[tokio::test]
async fn english() {
    assert_reads(Expected {
        language: Language::English,
        subject: "Call from +33612345678, 15 Dec 15:30",
        call: "Call ended · +33612345678 · 2m 25s

The caller asked about appointment availability next Tuesday. …

What to do: Nothing, unless something in the summary is still open, such as a
promised callback.

Caller              +33612345678
Began               Mon 15 Dec 2025, 15:30 CET
Number called       +33198765432
Status              Ended, 2m 25s
Goal                Met
Ended by            The caller
Sentiment           positive
Sales potential     high
Appointment booked  yes

-- 
Why you get this: rule call-completed · source clinic
Call 6789abcdef0123456789abcd",
        fields: [
            "*Caller* <tel:+33612345678|+33612345678>",
            "*Began* <!date^1765809000^{date_short_pretty}, {time}|Mon 15 Dec 2025, 15:30 CET>",
            "*Number called* +33198765432",
            "*Status* Ended, 2m 25s",
            "*Goal* Met",
            "*Ended by* The caller",
            "*Sentiment* positive",
            "*Sales potential* high",
            "*Appointment booked* yes",
        ],
        foot: "Why you get this: rule *call-completed* · source *clinic* · call 6789abcdef0123456789abcd",
        digest: "Warning: Digest: 3 calls

From Sat 13:32 to 15:32 CET

Rules      booked 2, unhappy 1
Sentiment  positive 2, negative 1

15:31      [WARNING] Call ended · +33612340001 · 1m 1s (negative) · A summary.
15:30      Booked on 15 Dec 2025, 15:30 · +33612340002 (positive) · A summary.
Sat 13:32  Booked on 13 Dec 2025, 13:32 · +33612343000 (positive) · A summary.

-- 
Source clinic · Mon 15 Dec 2025, 15:32 CET",
        digest_line: "<!date^1765809090^{date_short_pretty}, {time}|15:31>  ⚠️ Call ended · +33612340001 · 1m 1s · _negative_ · A summary.",
        health: "Destination crm is failing

crm has not taken anything since 15:00 CET. 148 notifications wait; they are
sent when it answers again.

Reason: connection refused

What to do: If somebody else looks after callwatch, forward this to them now;
the rest is for them.
If no all-clear has come within 15 minutes, find out why it does not answer;
`callwatch deliveries list --destination crm` shows what waits.

-- 
Why you get this: you receive alerts about callwatch itself ([alerts] in its
  config)
Mon 15 Dec 2025, 15:32 CET",
        health_words: "Destination crm is failing
crm has not taken anything since 15:00 CET. 148 notifications wait; they are sent when it answers again.

Reason: connection refused

What to do: If somebody else looks after callwatch, forward this to them now; the rest is for them.
If no all-clear has come within 15 minutes, find out why it does not answer; `callwatch deliveries list --destination crm` shows what waits.
Why you get this: you receive alerts about callwatch itself ([alerts] in its config) · Mon 15 Dec 2025, 15:32 CET",
    })
    .await;
}

#[tokio::test]
async fn french() {
    assert_reads(Expected {
        language: Language::French,
        subject: "Appel de +33612345678, 15 déc. 15:30",
        call: "Appel terminé · +33612345678 · 2_min 25_s

The caller asked about appointment availability next Tuesday. …

À faire~: Rien, sauf s’il reste quelque chose à faire d’après le résumé, par
exemple un rappel promis.

Appelant                +33612345678
Début                   lun. 15 déc. 2025, 15:30 CET
Numéro appelé           +33198765432
Statut                  Terminé, 2_min 25_s
Objectif                Atteint
Terminé par             L’appelant
Ressenti de l’appelant  positif
Potentiel commercial    élevé
Rendez-vous pris        oui

-- 
Pourquoi ce message~: règle call-completed · source clinic
Appel 6789abcdef0123456789abcd",
        fields: [
            "*Appelant* <tel:+33612345678|+33612345678>",
            "*Début* <!date^1765809000^{date_short_pretty}, {time}|lun. 15 déc. 2025, 15:30 CET>",
            "*Numéro appelé* +33198765432",
            "*Statut* Terminé, 2_min 25_s",
            "*Objectif* Atteint",
            "*Terminé par* L’appelant",
            "*Ressenti de l’appelant* positif",
            "*Potentiel commercial* élevé",
            "*Rendez-vous pris* oui",
        ],
        foot: "Pourquoi ce message~: règle *call-completed* · source *clinic* · appel 6789abcdef0123456789abcd",
        digest: "Attention~: Récapitulatif de 3_appels

Période~: sam. 13:32 – 15:32 CET

Règles                  booked 2, unhappy 1
Ressenti de l’appelant  positif 2, négatif 1

15:31       [ATTENTION] Appel terminé · +33612340001 · 1_min 1_s (négatif) · A
            summary.
15:30       Booked on 15 déc. 2025, 15:30 · +33612340002 (positif) · A
            summary.
sam. 13:32  Booked on 13 déc. 2025, 13:32 · +33612343000 (positif) · A
            summary.

-- 
Source clinic · lun. 15 déc. 2025, 15:32 CET",
        digest_line: "<!date^1765809090^{date_short_pretty}, {time}|15:31>  ⚠️ Appel terminé · +33612340001 · 1_min 1_s · _négatif_ · A summary.",
        health: "La destination crm est en panne

crm n’a rien accepté depuis 15:00 CET. 148_notifications sont en attente~;
elles seront envoyées dès que la destination répondra de nouveau.

Détail technique~: connection refused

À faire~: Si une autre personne s’occupe de callwatch, transférez-lui ce
message dès maintenant~; la suite lui est destinée.
Si le retour à la normale n’est pas annoncé d’ici 15 minutes, cherchez
pourquoi la destination ne répond pas~; `callwatch deliveries list
--destination crm` affiche ce qui est en attente.

-- 
Pourquoi ce message~: vous recevez les alertes sur callwatch lui-même
  ([alerts] dans sa configuration)
lun. 15 déc. 2025, 15:32 CET",
        health_words: "La destination crm est en panne
crm n’a rien accepté depuis 15:00 CET. 148_notifications sont en attente~; elles seront envoyées dès que la destination répondra de nouveau.

Détail technique~: connection refused

À faire~: Si une autre personne s’occupe de callwatch, transférez-lui ce message dès maintenant~; la suite lui est destinée.
Si le retour à la normale n’est pas annoncé d’ici 15 minutes, cherchez pourquoi la destination ne répond pas~; `callwatch deliveries list --destination crm` affiche ce qui est en attente.
Pourquoi ce message~: vous recevez les alertes sur callwatch lui-même ([alerts] dans sa configuration) · lun. 15 déc. 2025, 15:32 CET",
    })
    .await;
}

#[tokio::test]
async fn german() {
    assert_reads(Expected {
        language: Language::German,
        subject: "Anruf von +33612345678, 15.12., 15:30",
        call: "Anruf beendet · +33612345678 · 2_min 25_s

The caller asked about appointment availability next Tuesday. …

Zu tun: Nichts, es sei denn, laut Zusammenfassung ist noch etwas offen, etwa
ein zugesagter Rückruf.

Anrufer                +33612345678
Beginn                 Mo., 15.12.2025, 15:30 Uhr MEZ
Angerufene Nummer      +33198765432
Status                 Beendet, 2_min 25_s
Gesprächsziel          Erreicht
Beendet durch          Anrufer
Stimmung des Anrufers  positiv
Verkaufspotenzial      hoch
Termin vereinbart      ja

-- 
Grund dieser Nachricht: Regel call-completed · Quelle clinic
Anruf 6789abcdef0123456789abcd",
        fields: [
            "*Anrufer* <tel:+33612345678|+33612345678>",
            "*Beginn* <!date^1765809000^{date_short_pretty}, {time}|Mo., 15.12.2025, 15:30 Uhr MEZ>",
            "*Angerufene Nummer* +33198765432",
            "*Status* Beendet, 2_min 25_s",
            "*Gesprächsziel* Erreicht",
            "*Beendet durch* Anrufer",
            "*Stimmung des Anrufers* positiv",
            "*Verkaufspotenzial* hoch",
            "*Termin vereinbart* ja",
        ],
        foot: "Grund dieser Nachricht: Regel *call-completed* · Quelle *clinic* · Anruf 6789abcdef0123456789abcd",
        digest: "Warnung: Übersicht über 3_Anrufe

Zeitraum: Sa., 13:32 bis 15:32 Uhr MEZ

Regeln                 booked 2, unhappy 1
Stimmung des Anrufers  positiv 2, negativ 1

15:31       [WARNUNG] Anruf beendet · +33612340001 · 1_min 1_s (negativ) · A
            summary.
15:30       Booked on 15.12.2025, 15:30 · +33612340002 (positiv) · A summary.
Sa., 13:32  Booked on 13.12.2025, 13:32 · +33612343000 (positiv) · A summary.

-- 
Quelle clinic · Mo., 15.12.2025, 15:32 Uhr MEZ",
        digest_line: "<!date^1765809090^{date_short_pretty}, {time}|15:31>  ⚠️ Anruf beendet · +33612340001 · 1_min 1_s · _negativ_ · A summary.",
        health: "Ziel crm ist gestört

crm hat seit 15:00 Uhr MEZ nichts angenommen. 148_Benachrichtigungen warten;
sie werden gesendet, sobald das Ziel wieder antwortet.

Technische Details: connection refused

Zu tun: Kümmert sich jemand anderes um callwatch, leiten Sie diese Nachricht
jetzt an diese Person weiter; das Weitere ist für sie bestimmt.
Kommt innerhalb von 15 Minuten keine Entwarnung, finden Sie heraus, warum das
Ziel nicht antwortet; `callwatch deliveries list --destination crm` zeigt, was
wartet.

-- 
Grund dieser Nachricht: Sie erhalten Meldungen über callwatch selbst ([alerts]
  in seiner Konfiguration)
Mo., 15.12.2025, 15:32 Uhr MEZ",
        health_words: "Ziel crm ist gestört
crm hat seit 15:00 Uhr MEZ nichts angenommen. 148_Benachrichtigungen warten; sie werden gesendet, sobald das Ziel wieder antwortet.

Technische Details: connection refused

Zu tun: Kümmert sich jemand anderes um callwatch, leiten Sie diese Nachricht jetzt an diese Person weiter; das Weitere ist für sie bestimmt.
Kommt innerhalb von 15 Minuten keine Entwarnung, finden Sie heraus, warum das Ziel nicht antwortet; `callwatch deliveries list --destination crm` zeigt, was wartet.
Grund dieser Nachricht: Sie erhalten Meldungen über callwatch selbst ([alerts] in seiner Konfiguration) · Mo., 15.12.2025, 15:32 Uhr MEZ",
    })
    .await;
}

#[tokio::test]
async fn spanish() {
    assert_reads(Expected {
        language: Language::Spanish,
        subject: "Llamada de +33612345678, 15 dic 15:30",
        call: "Llamada finalizada · +33612345678 · 2_min 25_s

The caller asked about appointment availability next Tuesday. …

Qué hacer: Nada, salvo que, según el resumen, quede algo pendiente, como
devolver una llamada.

Llamante             +33612345678
Inicio               lun, 15 dic 2025, 15:30 CET
Número marcado       +33198765432
Estado               Finalizada, 2_min 25_s
Objetivo             Alcanzado
Finalizada por       La persona que llamó
Ánimo del llamante   positivo
Potencial comercial  alto
Cita concertada      sí

-- 
Motivo de este mensaje: regla call-completed · fuente clinic
Llamada 6789abcdef0123456789abcd",
        fields: [
            "*Llamante* <tel:+33612345678|+33612345678>",
            "*Inicio* <!date^1765809000^{date_short_pretty}, {time}|lun, 15 dic 2025, 15:30 CET>",
            "*Número marcado* +33198765432",
            "*Estado* Finalizada, 2_min 25_s",
            "*Objetivo* Alcanzado",
            "*Finalizada por* La persona que llamó",
            "*Ánimo del llamante* positivo",
            "*Potencial comercial* alto",
            "*Cita concertada* sí",
        ],
        foot: "Motivo de este mensaje: regla *call-completed* · fuente *clinic* · llamada 6789abcdef0123456789abcd",
        digest: "Advertencia: Resumen de 3_llamadas

Período: sáb 13:32 – 15:32 CET

Reglas              booked 2, unhappy 1
Ánimo del llamante  positivo 2, negativo 1

15:31      [ADVERTENCIA] Llamada finalizada · +33612340001 · 1_min 1_s
           (negativo) · A summary.
15:30      Booked on 15 dic 2025, 15:30 · +33612340002 (positivo) · A summary.
sáb 13:32  Booked on 13 dic 2025, 13:32 · +33612343000 (positivo) · A summary.

-- 
Fuente clinic · lun, 15 dic 2025, 15:32 CET",
        digest_line: "<!date^1765809090^{date_short_pretty}, {time}|15:31>  ⚠️ Llamada finalizada · +33612340001 · 1_min 1_s · _negativo_ · A summary.",
        health: "El destino crm está fallando

crm no ha aceptado nada desde las 15:00 CET. Hay 148_notificaciones en espera;
se enviarán en cuanto el destino vuelva a responder.

Detalle técnico: connection refused

Qué hacer: Si otra persona se encarga de callwatch, reenvíele este mensaje ya;
lo que sigue es para ella.
Si en 15 minutos no llega el aviso de que todo vuelve a funcionar, averigüe
por qué el destino no responde; `callwatch deliveries list --destination crm`
muestra lo que está en espera.

-- 
Motivo de este mensaje: usted recibe los avisos sobre el propio callwatch
  ([alerts] en su configuración)
lun, 15 dic 2025, 15:32 CET",
        health_words: "El destino crm está fallando
crm no ha aceptado nada desde las 15:00 CET. Hay 148_notificaciones en espera; se enviarán en cuanto el destino vuelva a responder.

Detalle técnico: connection refused

Qué hacer: Si otra persona se encarga de callwatch, reenvíele este mensaje ya; lo que sigue es para ella.
Si en 15 minutos no llega el aviso de que todo vuelve a funcionar, averigüe por qué el destino no responde; `callwatch deliveries list --destination crm` muestra lo que está en espera.
Motivo de este mensaje: usted recibe los avisos sobre el propio callwatch ([alerts] en su configuración) · lun, 15 dic 2025, 15:32 CET",
    })
    .await;
}

#[tokio::test]
async fn a_webhook_has_the_words_of_its_language_and_the_same_json_in_every_one() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let template = r#"{"title": {{ title|tojson }}, "message": {{ message|tojson }}, "kinds": {{ kinds|tojson }}, "language": {{ language|tojson }}}"#;
    let mut config = own_body::to(&server.uri(), template, "application/json");
    reading(Language::French)(&mut config);
    let answer = deliver(&config, &event(Kind::Ended)).await;
    assert_eq!(answer.reaction, Reaction::Delivered, "{answer:?}");
    let body: Value = serde_json::from_slice(&only_request(&server).await.body).unwrap();
    assert_eq!((&body["kinds"], &body["language"]), (&json!(["ended"]), &json!("fr")));
    assert_eq!(marked(body["title"].as_str().unwrap()), "Appel terminé · +33612345678 · 2_min 25_s");
    let message = marked(body["message"].as_str().unwrap());
    assert!(
        message.contains("\n\nAppelant~: +33612345678\nDébut~: lun. 15 déc. 2025, 15:30 CET\n"),
        "{message}"
    );

    let mut bodies = vec![];
    for language in Language::ALL {
        let server = receiver(ResponseTemplate::new(200)).await;
        let format = WebhookFormat::Standard;
        let mut config =
            super::config(DestinationKind::Webhook(WebhookConfig { format, ..webhook(&server.uri()) }));
        reading(language)(&mut config);
        deliver(&config, &event(Kind::Ended)).await;
        bodies.push(only_request(&server).await.body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn no_line_of_a_mail_is_wider_than_a_terminal_but_for_addresses() {
    let mut record: Value = serde_json::from_str(RECORD).unwrap();
    record["summary"] = format!("{}\n\n{}", "She asked for a place. ".repeat(20), "word".repeat(10)).into();
    record["callAnalysis"]["notes"] = "The agent promised to call back. ".repeat(8).into();
    record["callAnalysis"]["aVeryLongNameOfAFieldThatSomebodyHasThoughtOfForItsAgent"] =
        "yes ".repeat(30).into();
    record["recordingUrl"] = format!("https://a.example/{}", "x".repeat(100)).into();
    let long = event_of(Kind::Ended, &record.to_string());
    let rules = text(Some("{{ 'A rather long title ' * 6 }}"), None, Severity::Critical);
    let rules = super::rules(&long.rule, &rules);
    for language in Language::ALL {
        for (event, rules) in [(&long, &rules), (&digest(), &both_rules()), (&failing(), &Rules::default())] {
            let shown = |config: &mut DestinationConfig| {
                reading(language)(config);
                config.fields.transcript = true;
                config.fields.include = Some(record.as_object().unwrap().keys().cloned().collect());
            };
            let [_, text, _] = mail_with(shown, event, rules).await;
            for line in text.lines() {
                let is_address = line.trim_start().starts_with("https://") && !line.trim().contains(' ');
                assert!(line.chars().count() <= 78 || is_address, "{language}: {line}");
            }
        }
    }
}

#[tokio::test]
async fn the_page_about_messages_shows_what_arrives() {
    let page = include_str!("../../../docs/messages.md");
    let section = page.split("## In the reader's language").nth(1).unwrap().split("\n## ").next().unwrap();
    let block = |kind: &str| {
        let rest = section.split(&format!("```{kind}\n")).nth(1).unwrap();
        rest.split("```").next().unwrap()
    };
    let whole = format!("{}\n[sources.clinic]\napi_key = \"ck_live_x\"\n", block("toml"));
    let loaded = Config::parse(&whole, std::path::Path::new("config.toml"), LoadOptions::default());
    let config = loaded.unwrap_or_else(|report| panic!("{report}")).config;
    let [accueil, leitung] = &config.destinations[..] else { panic!("{:?}", config.destinations) };
    assert_eq!((accueil.language, leitung.language), (Language::French, Language::German));
    let [_, text, _] = mail(leitung.language, &event(Kind::Ended), &Rules::default()).await;
    assert!(text.replace('\u{a0}', " ").starts_with(block("text")), "{text}");

    let title = text_of(block("jinja"));
    for (language, said) in [(Language::French, "Client mécontent"), (Language::German, "Unhappy caller")] {
        let message =
            posted_ruled(reading(language), &event(Kind::Ended), &rules(&"call-completed".into(), &title))
                .await;
        assert_eq!(super::slack::title(&message), format!("{said} +33612345678"));
    }
}

fn text_of(title: &str) -> RuleText {
    text(Some(title.trim()), None, Severity::Info)
}
