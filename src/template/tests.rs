//! Templates and their output, and the messages about templates that are wrong.

use serde_json::json;

use std::collections::BTreeMap;

use super::*;
use crate::{change::Changes, event::Severity, kind::Kind, language::Language};

fn render(source: &str) -> Result<String, TemplateError> {
    with_context(|context| Template::compile(source)?.render(context))
}

fn with_context<T>(act: impl FnOnce(&Context<'_>) -> T) -> T {
    let call = json!({
        "callerNumber": "+33612345678", "calledNumber": null, "duration": 145, "summary": "a <b> & c",
        "callAnalysis": { "sentiment": "negative" }, "createdAt": "2025-12-15T14:32:25.000Z"
    });
    let changes = json!({ "status": { "from": "live", "to": "completed" } });
    act(&Context {
        call: Some(&call),
        details: None,
        changes: &Changes(changes.as_object().unwrap().clone()),
        change: ChangeContext { kinds: Kind::Ended.into() },
        kinds: Kind::Ended.into(),
        source: "clinic",
        rule: "unhappy",
        severity: Severity::Warning,
        language: Language::English,
        event: EventContext { id: "evt_1", r#type: "call.ended", time: "2025-12-15T14:32:25.000Z" },
        count: 2,
        calls: &[&call, &call],
        message: Some(MessageContext {
            title: "A \"title\"",
            message: "Two\nlines </script>",
            secrets: &BTreeMap::from([("routing_key", "hush")]),
        }),
    })
}

#[track_caller]
fn assert_renders(source: &str, text: &str) {
    assert_eq!(render(source).unwrap(), text);
}

#[track_caller]
fn assert_fails(source: &str, message: &str, at: &str) {
    let error = render(source).unwrap_err();
    assert_eq!(error.message, message);
    assert_eq!(&source[error.span.unwrap()], at);
}

#[test]
fn numbers_and_texts_are_added_and_lists_are_not() {
    for (source, text) in [
        ("{{ call.duration + 5 }} {{ 5 + call.duration }}", "150 150"),
        ("{{ call.duration + call.duration|int }} {{ call.duration|int + 1 + call.duration }}", "290 291"),
        ("{{ 'a' + call.callerNumber|lower }}", "a+33612345678"),
        (
            "{% set ns = namespace(n=0) %}{% for c in calls %}{% set ns.n = ns.n + c.duration|int %}{% endfor %}{{ ns.n }}",
            "290",
        ),
        ("{{ calls|sum(attribute='duration') }} {{ [1, 2]|sum(start=3) }}", "290 6"),
    ] {
        assert_renders(source, text);
    }
    for source in [
        "{{ kinds + kinds }}",
        "{% set x = [1] %}{% set x = x + x %}{{ x }}",
        "{{ kinds + (1 if count else kinds) }}",
        "{{ kinds + (kinds if count else 1) }}",
        "{{ kinds + (count and kinds) }}",
        "{{ (1 if count else kinds) + kinds }}",
        "{{ kinds + kinds|sort }}",
        "{{ call.a.b + call.c.d }}",
    ] {
        assert_eq!(
            render(source).unwrap_err().message,
            "`+` adds numbers, and these may be lists",
            "{source}"
        );
    }
    assert_eq!(
        render("{{ [[1]]|sum(start=[2]) }}").unwrap_err().message,
        "`sum(start=[2])` does not work with this call (invalid operation)"
    );
    assert!(
        render("{{ kinds|chain(kinds)|list }}")
            .unwrap_err()
            .message
            .starts_with("there is no filter `chain`")
    );
}

#[test]
fn lists_and_objects_hold_nothing_that_the_template_has_made() {
    for source in [
        "{% set x = [1] %}{% set x = [x, x] %}{{ x }}",
        "{% set x = [1] %}{% set x = {1: x, 2: x.y} %}",
        "{% set x = [1] %}{% set x = x, x %}",
        "{% set x = [1] %}{% set x = (x, x) %}",
        "{% set x = [1] %}{{ x|batch(2, x)|list }}",
        "{% set x = [1] %}{{ x|zip(x)|list }}",
        "{% set x = [1] %}{{ dict(a=x, b=x) }}",
        "{% set ns = namespace(a=1) %}{% set ns.a = [ns.a, ns.a] %}",
        "{% for x in [[1]] %}{% for y in [[x, x]] %}{{ y }}{% endfor %}{% endfor %}",
        "{% with a = [1] %}{{ [a, a] }}{% endwith %}",
        "{% set x = [1] %}{{ 1 if count else [x, x] }}",
    ] {
        let error = render(source).unwrap_err().message;
        assert!(
            error.ends_with("cannot be put into a list or an object, because the template sets it"),
            "{source}: {error}"
        );
    }
    for (source, text) in [
        ("{% for c in calls %}{{ {'n': c.duration}|tojson }}{% endfor %}", "{\"n\": 145}{\"n\": 145}"),
        (
            "{% for k, v in [['a', call.duration], ['b', rule]] %}{{ k }}={{ v }} {% endfor %}",
            "a=145 b=unhappy ",
        ),
        ("{% set t = call.duration %}{{ [t|string, 'x']|join }} {{ calls[0].duration }}", "145x 145"),
        ("{% set t = 'a' %}{{ t|replace('a', t) }} {{ 'x' if t in ['a', 'b'] else t }}", "a x"),
        ("{{ [[1, 'a'], {'b': none}] }} {{ ['b', 'a']|sort|join('+') }}", "[[1, 'a'], {'b': None}] a+b"),
        ("{{ 'a\nb'|indent(2) }}", "a\n  b"),
    ] {
        assert_renders(source, text);
    }
}

#[test]
fn a_template_speaks_of_the_event() {
    assert_renders("{{ call.callerNumber }}: {{ call.summary }}", "+33612345678: a <b> & c");
    assert_renders(
        "{{ source }} {{ rule }} {{ severity }} {{ kinds[0] }} {{ change.kinds|join('+') }}",
        "clinic unhappy warning ended ended",
    );
    assert_renders(
        "{{ changes.status.from }} {{ event.id }} {{ event.type }} {{ event.time }}",
        "live evt_1 call.ended 2025-12-15T14:32:25.000Z",
    );
}

#[test]
fn null_is_a_dash_and_missing_can_be_asked_for() {
    assert_renders("{{ call.calledNumber }}", "–");
    assert_renders("{{ call.calledNumber|duration }}{{ call.calledNumber|mask_phone }}", "––");
    assert_renders("{{ 'yes' if call.callAnalysis.mood is defined else 'no' }}", "no");
    assert_renders("{{ call.mood|default('none') }}", "none");
}

#[test]
fn a_number_that_was_withheld_is_told_as_such_and_is_null_for_programs() {
    let render = |source: &str, number: serde_json::Value| {
        let call = json!({ "callerNumber": number, "calledNumber": null });
        with_context(|context| {
            let context = Context { call: Some(&call), calls: &[&call], ..*context };
            let text = Template::compile(source).unwrap().render(&context).unwrap();
            (text, Template::compile_body(source, &[]).unwrap().render_body(&context).unwrap())
        })
    };
    for (source, told) in [
        ("{{ call.callerNumber }} {{ call.calledNumber }}", "unknown number –"),
        ("{{ call.callerNumber|mask_phone }}", "unknown number"),
        ("{{ call.callerNumber|truncate(8) }} {{ 'a' ~ call.callerNumber }}", "unknown… aunknown number"),
        ("{{ call.callerNumber or 'x' }} {{ call.callerNumber is none }}", "x True"),
        ("{{ call.callerNumber|default('x', true) }}", "x"),
        ("{% for call in calls %}{{ call.callerNumber }}{% endfor %}", "unknown number"),
        ("{{ call.callerNumber|tojson }}", "null"),
    ] {
        assert_eq!(render(source, json!(null)), (told.to_owned(), told.to_owned()), "{source}");
    }
    for source in ["{{ call|tojson }}", "{{ calls|first|tojson }}"] {
        let (text, body) = render(source, json!(null));
        let parsed = serde_json::from_str::<serde_json::Value>(&body).unwrap();
        assert_eq!(parsed, json!({ "calledNumber": null, "callerNumber": null }), "{source}");
        assert_eq!(text, body);
    }
    let (_, all) = render("{{ calls|tojson }}", json!(null));
    let parsed = serde_json::from_str::<serde_json::Value>(&all).unwrap();
    assert_eq!(parsed, json!([{ "calledNumber": null, "callerNumber": null }]));
    assert_eq!(render("{{ call.callerNumber }}", json!(" ")).0, "unknown number");
    assert_eq!(render("{{ call.callerNumber }}", json!("+331")).0, "+331");
}

#[test]
fn filters_say_it_for_people() {
    assert_renders("{{ call.callerNumber|mask_phone }}", "+3361•••5678");
    assert_renders("{{ call.duration|duration }}", "2m 25s");
    assert_renders("{{ call.summary|truncate(4) }}", "a <…");
}

#[test]
fn filters_follow_the_language_of_the_message() {
    let call = json!({ "callerNumber": null, "createdAt": "2025-12-15T14:32:25.000Z", "duration": 145 });
    let render = |language, source: &str| {
        with_context(|context| {
            let context = Context { call: Some(&call), calls: &[&call], language, ..*context };
            Template::compile(source).unwrap().render(&context).unwrap()
        })
    };
    for (source, texts) in [
        (
            "{{ call.createdAt|local_time('Europe/Paris') }}",
            ["15 Dec 2025, 15:32", "15 déc. 2025, 15:32", "15.12.2025, 15:32", "15 dic 2025, 15:32"],
        ),
        (
            "{{ call.createdAt|local_time('UTC', '%A %-d %B') }}",
            ["Monday 15 December", "lundi 15 décembre", "Montag 15 Dezember", "lunes 15 diciembre"],
        ),
        (
            "{{ call.duration|duration }}",
            ["2m 25s", "2\u{a0}min 25\u{a0}s", "2\u{a0}min 25\u{a0}s", "2\u{a0}min 25\u{a0}s"],
        ),
        (
            "{{ call.callerNumber }} {{ call.callerNumber|truncate(8) }}",
            [
                "unknown number unknown…",
                "numéro inconnu numéro…",
                "unbekannte Nummer unbekan…",
                "número desconocido número…",
            ],
        ),
        ("{{ 'Bonjour' if language == 'fr' else language }}", ["en", "Bonjour", "de", "es"]),
    ] {
        assert_eq!(Language::ALL.map(|language| render(language, source)), texts, "{source}");
    }
}

#[test]
fn times_are_local() {
    for (source, text) in [
        ("{{ call.createdAt|local_time('Europe/Paris') }}", "15 Dec 2025, 15:32"),
        ("{{ call.createdAt|local_time('asia/kolkata', '%H:%M %Z') }}", "20:02 IST"),
        ("{{ call.calledNumber|local_time('UTC') }}", "–"),
    ] {
        assert_renders(source, text);
    }
    let at = "local_time('UTC')";
    let message = format!("`{at}` does not work with this call (invalid operation)");
    assert_fails(&format!("{{{{ call.summary|{at} }}}}"), &message, at);
    assert_fails("{{ 'x'|local_time('Paris') }}", "there is no time zone `Paris`", "local_time('Paris')");
    assert_fails(
        "{{ 'x'|local_time('UTC', '%Q') }}",
        "`%Q` is not a format of times",
        "local_time('UTC', '%Q')",
    );
}

#[test]
fn a_title_can_be_for_several() {
    assert_renders("{{ count }} {{ calls|map(attribute='duration')|join('+') }}", "2 145+145");
    let speaks_of_all = |source| Template::compile(source).unwrap().speaks_of_all();
    assert!(speaks_of_all("{{ count }}") && speaks_of_all("{% for call in calls %}.{% endfor %}"));
    assert!(!speaks_of_all("{{ call.id }}") && !speaks_of_all("{% set count = 1 %}{{ count }}"));
}

#[test]
fn a_body_has_the_message_and_the_secrets() {
    let body = |source: &str| {
        with_context(|context| Template::compile_body(source, &["routing_key"])?.render_body(context))
    };
    let json =
        body("{\"a\": {{ title|tojson }}, \"b\": {{ message|tojson }}, \"c\": {{ call|tojson }}}").unwrap();
    assert!(!json.contains("</script>"), "{json}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["a"], &json["b"]), (&json!("A \"title\""), &json!("Two\nlines </script>")));
    assert_eq!((&json["c"]["summary"], &json["c"]["calledNumber"]), (&json!("a <b> & c"), &json!(null)));
    assert_eq!(body("{{ secrets.routing_key }}").unwrap(), "hush");
    assert_eq!(body("{{ 'a & b\n<c>'|escape|replace('\n', '<br>') }}").unwrap(), "a &amp; b<br>&lt;c&gt;");
    assert_eq!(body("{{ call.summary|slack_escape }}").unwrap(), "a &lt;b&gt; &amp; c");
    assert_eq!(
        body("{{ secrets.routing_kei }}").unwrap_err().message,
        "there is no secret `routing_kei`; did you mean `routing_key`?"
    );
    assert_eq!(
        render("{{ title }}").unwrap_err().message,
        "`title` is only there in the `body` of a webhook"
    );
    let long = "{% for a in range(9000) %}{{ 'x' * 200 }}{% endfor %}";
    assert_eq!(body(long).unwrap_err().message, "it becomes longer than 1 MiB");
}

#[test]
fn what_does_not_exist_is_found_without_running() {
    assert_fails(
        "{% if false %}{{ call.duration | duratoin }}{% endif %}",
        "there is no filter `duratoin`; did you mean `duration`?",
        "duratoin",
    );
    assert_fails("{{ caller }}", "there is no variable `caller`; did you mean `call`?", "caller");
    assert_fails("{% if call is odious %}{% endif %}", "there is no test `odious`", "odious");
    assert_fails("{{ debug() }}", "there is no function `debug`", "debug()");
    assert_fails(
        "{{ before.status }}",
        "`before` is only there in conditions; a template has `changes.FIELD.from`",
        "before.status",
    );
    assert!(Template::compile("{% set x = call.id %}{{ x }}{% for k in kinds %}{{ k }}{{ loop.index }}{% endfor %}{{ range(3) }}").is_ok());
}

#[test]
fn a_syntax_error_has_a_place() {
    let error = Template::compile("Hello {{ call. }}").unwrap_err();
    assert_eq!(error.message, "unexpected end of variable block, expected identifier or integer");
    assert_eq!(error.span, Some(15..17));
    assert!(Template::compile("{% if %}").unwrap_err().span.is_some());
}

#[test]
fn a_failure_quotes_the_template_and_never_the_call() {
    assert_fails(
        "{{ call.callAnalysis.mood }}",
        "`call.callAnalysis.mood` is not there; it is missing in this call or left out by the destination",
        "call.callAnalysis.mood",
    );
    for source in ["{{ call.callerNumber|int }}{{ call.summary|int }}", "{{ call.summary + 1 }}"] {
        let error = render(source).unwrap_err();
        assert!(!format!("{error:?}").contains("a <b>"), "{error:?}");
    }
}

/// On a thread with the stack of the runtime's workers.
#[track_caller]
fn refused(source: String, message: &str) {
    let error = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || render(&source).unwrap_err().message)
        .unwrap()
        .join()
        .unwrap();
    assert!(error.contains(message), "{error}");
}

#[test]
fn an_expression_that_would_overflow_the_stack_is_refused() {
    for n in [300, 10_000] {
        for (before, part, after) in [
            ("{{ call", ".a", " }}"),
            ("{{ ", "not ", "call }}"),
            ("{{ ", "-", "1 }}"),
            ("{{ ", "(", "1 }}"),
            ("{{ 1", "|abs", " }}"),
            ("{{ 1", "+1", " }}"),
            ("{{ 1", "~1", " }}"),
            ("{{ ", "[", " }}"),
            ("{{ 1", " if 1 else 1", " }}"),
            ("{{ call", "[0]", " }}"),
            ("{% if call", " and 1", " %}{% endif %}"),
            ("{# ' #}{{ '}}' ~ call", ".a", " }}"),
            ("{% raw %}{{ '{% endraw %}{{ call", ".a", " }}"),
        ] {
            let source = format!("{before}{}{after}", part.repeat(n));
            let message = if source.len() > 64 * 1024 { "at most 65536" } else { "operators" };
            refused(source, message);
        }
    }
    refused("{% if 1 %}".repeat(1000), "recursion");
    refused("x".repeat(250_000), "at most 65536");
    // The deepest template that is allowed renders without overflow.
    let deepest = format!("{{{{ {}true }}}}", "not ".repeat(250));
    assert_eq!(std::thread::spawn(move || render(&deepest).unwrap()).join().unwrap(), "True");
}

#[test]
fn a_small_template_cannot_make_a_large_text() {
    for source in [
        "{{ call|tojson(1000000000) }}",
        "{{ call|tojson(indent=1000000000) }}",
        "{% set n = 1000000000 %}{{ call|tojson(indent=n) }}",
        "{{ call.summary|indent(1000000000) }}",
        "{{ 'x' * 90000000 }}",
        "{% set ns = namespace(x='aaaaaaaaaa') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{{ call.summary|replace('', 'x' * 10000)|replace('', 'y' * 10000) }}",
    ] {
        let error = render(source).unwrap_err().message;
        assert!(error.contains("does not work") || error.contains("too "), "{source}: {error}");
    }
    assert_renders("{{ [1, {'a': 2}]|tojson(indent=2)|length }}", "27");
}

#[test]
fn a_template_ends() {
    let endless =
        "{% for a in range(1000) %}{% for b in range(1000) %}{% set x = a %}{% endfor %}{% endfor %}";
    assert_eq!(render(endless).unwrap_err().message, "it takes too many steps");
    let long = render("{% for a in range(9000) %}é.{% endfor %}").unwrap();
    assert!(long.len() <= MAX_OUTPUT + '…'.len_utf8() && long.ends_with(".…"), "{}", long.len());
}

#[test]
fn null_is_a_dash_wherever_texts_are_put_together() {
    let render = |source: &str| {
        let call = json!({ "summary": null, "duration": 5, "tags": ["a", null], "inner": { "x": null } });
        with_context(|context| {
            let context = Context { call: Some(&call), calls: &[&call], ..*context };
            let template = Template::compile(source).unwrap_or_else(|error| panic!("{source}: {error:?}"));
            let body = Template::compile_body(source, &[]).unwrap();
            let rendered = template.render(&context).unwrap_or_else(|error| panic!("{source}: {error:?}"));
            assert_eq!(body.render_body(&context).unwrap(), rendered, "{source}");
            rendered
        })
    };
    for (source, expected) in [
        ("{{ 'It was: ' ~ call.summary }}", "It was: –"),
        ("{{ call.summary ~ '/' ~ call.duration ~ (call.inner.x ~ '!') }}", "–/5–!"),
        ("{{ (call.summary or 'nothing') ~ '.' }}", "nothing."),
        ("{{ call.summary|default('nothing', true) ~ '.' }}", "nothing."),
        ("{{ call.tags|join(', ') }}", "a, –"),
        ("{{ calls|join(', ', attribute='inner.x') }}", "–"),
        ("{{ calls|map(attribute='summary')|join }}", "–"),
        ("{{ '%s of %s'|format(call.summary, call.duration) }}", "– of 5"),
        ("{{ call.summary|upper }} {{ call.summary|lower }} {{ call.summary|title }}", "– – –"),
        ("{{ call.summary|trim }} {{ call.summary|capitalize }} {{ call.summary|e }}", "– – –"),
        ("{{ call.summary|replace('a', 'b') }} {{ call.summary|string }}", "– –"),
        ("{{ call.summary|string ~ call.summary|upper }}", "––"),
        ("{% set text = 'Says ' ~ call.summary %}{{ text }}", "Says –"),
        ("{% if call.summary ~ '' == '–' %}{{ call.summary is none }}{% endif %}", "True"),
    ] {
        assert_eq!(render(source), expected, "{source}");
    }
    // A missing part stays a mistake, and the message shows the template as it was written.
    assert_fails(
        "{{ 'a' ~ call.mood ~ 'b' }}",
        "`'a' ~ call.mood` is not there; it is missing in this call or left out by the destination",
        "'a' ~ call.mood",
    );
}

#[test]
fn lists_are_neither_repeated_nor_compared_nor_looked_for() {
    for (source, message) in [
        ("{{ [[1] * 1000000000] == [[1] * 1000000000] }}", "`*` multiplies numbers"),
        ("{{ kinds * 1000000000 ~ '' }}", "`*` multiplies numbers"),
        ("{{ call.duration * 2 }}", "`*` multiplies numbers"),
        ("{{ 2 * call.duration }}", "`*` multiplies numbers"),
        ("{{ call == calls[0] }}", "both sides of this comparison"),
        ("{{ call.a < call.b.c }}", "both sides of this comparison"),
        ("{{ 1 == call.a == call.b }}", "both sides of this comparison"),
        ("{{ [call] != [calls[0]] }}", "both sides of this comparison"),
        ("{{ call == ('x' if count else calls[0]) }}", "both sides of this comparison"),
        ("{% set count = call %}{{ call == count }}", "both sides of this comparison"),
        ("{{ call in calls }}", "what is looked for"),
        ("{{ kinds not in 'abc' }}", "what is looked for"),
        ("{% for c in calls %}{{ loop.changed(c) }}{% endfor %}", "what `loop.changed` compares"),
        ("{{ {call: 1}[calls[0]] }}", "a key of an object"),
        ("{{ {'a': 1, call.duration: 1} }}", "a key of an object"),
    ] {
        assert!(render(source).unwrap_err().message.starts_with(message), "{source}");
    }
    for (source, text) in [
        (
            "{{ call.duration|float * 2 }} {{ call.duration|default(0, true)|int * (1 + 1) }} {{ '-' * 3 }}",
            "290.0 290 ---",
        ),
        (
            "{{ call.duration > 100 }} {{ 100 < call['duration'] < 200 }} {{ call.summary|lower != call.id|default('') }}",
            "True True True",
        ),
        (
            "{% for c in calls %}{{ loop.index == c.duration }} {{ c.duration == count }} {{ loop.changed(c.duration|string) }} {% endfor %}",
            "False False True False False False ",
        ),
        (
            "{{ 'b' in call.summary }} {{ call.summary in ['a', 'b'] }} {{ (count == 2) == call.a|default(true) }}",
            "True False True",
        ),
        (
            "{{ call is eq(calls[0]) }} {{ calls|select('in', calls)|list|length }} {{ {'a': {'b': 1}}.a.b }}",
            "True 2 1",
        ),
    ] {
        assert_renders(source, text);
    }
}

#[test]
fn looking_at_a_large_value_again_and_again_takes_steps() {
    let turns: Vec<_> =
        (0..1000).map(|n| json!({ "role": "user", "content": format!("{n} {}", "x".repeat(900)) })).collect();
    let call = json!({ "transcript": turns });
    let twin = call.clone();
    with_context(|context| {
        let context = Context { call: Some(&call), calls: &[&twin, &call], ..*context };
        for look in [
            "call is eq(calls[0])",
            "call is lt(calls[0])",
            "call is in(calls)",
            "call|upper",
            "call|max",
            "calls|unique|list",
            "calls|sort",
            "{1: call, 2: calls[0]}|dictsort(by='value')",
            "calls|select('==', calls[0])|list",
            "calls|groupby('transcript')",
            "calls|map('string')|list",
            "call|string",
            "call|tojson",
            "call.transcript[0].content is lower",
        ] {
            let source = format!("{{% for i in range(90000) %}}{{% if {look} %}}{{% endif %}}{{% endfor %}}");
            let rendered = Template::compile_body(&source, &[]).unwrap().render_body(&context);
            let error = rendered.unwrap_err().message;
            assert!(error == "it takes too many steps" || error.contains("does not work"), "{look}: {error}");
        }
    });
}

#[test]
fn a_mistake_is_shown_in_whole_characters() {
    for source in ["{{\u{feff} x }}", "ä {{ call.\u{1f600} }}", "{% if \u{e9} %}", "{{ 'ä"] {
        let error = Template::compile(source).unwrap_err();
        assert!(error.span.is_none_or(|span| source.get(span).is_some()), "{source:?}: {}", error.message);
    }
}
