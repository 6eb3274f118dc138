# Titel.
call_started = Anruf begonnen
call_ended = Anruf beendet
call_analyzed = Anruf ausgewertet
call_updated = Anruf geändert
call_deleted = Anruf gelöscht
no_calls_in = Keine Anrufe bei { $source }
no_calls_in_for = Seit { $span } keine Anrufe bei { $source }
rule_for = { $rule } seit { $span }
test = [Test]
unhappy_caller = Unzufriedener Anrufer

# Betreff aller Nachrichten zu einem Anruf.
conversation = Anruf von { $caller }, { $when }
conversation_unknown = Anruf von unbekannter Nummer, { $when }
conversation_bare = Anruf, { $when }
conversation_of = Anruf { $call } von { $caller }
conversation_id = Anruf { $call }

# Bezeichnungen und Werte.
caller = Anrufer
called = Angerufene Nummer
status = Status
outcome = Gesprächsziel
how_it_ended = Beendet durch
engaged = Gespräch zustande gekommen
rules = Regeln
live_now = Läuft gerade
yes = ja
no = nein
unknown_number = unbekannte Nummer
changed = geändert
now = jetzt { $value }
removed = entfernt
field = { $name ->
        [status] Status
        [duration] Dauer
        [summary] Zusammenfassung
        [evaluation] Gesprächsziel
        [endedReason] Beendet durch
        [callerNumber] Nummer des Anrufers
        [calledNumber] Angerufene Nummer
        [isEngaged] Gespräch zustande gekommen
        [callAnalysis] Auswertung
        [transcript] Gesprächsprotokoll
        [createdAt] Beginn
        [sentiment] Stimmung des Anrufers
        [leadQuality] Verkaufspotenzial
        [appointmentBooked] Termin vereinbart
       *[other] { $label }
    }
word = { $key ->
        [live] läuft gerade
        [completed] beendet
        [failed] fehlgeschlagen
        [no_answer] nicht angenommen
        [busy] besetzt
        [canceled] abgebrochen
        [cancelled] abgebrochen
        [voicemail] Anrufbeantworter
        [missed] verpasst
        [success] erreicht
        [fail] nicht erreicht
        [user_hangup] Anrufer
        [agent_hangup] Agent
        [customer_ended_call] Anrufer
        [assistant_ended_call] Agent
        [silence_timeout] Stille
        [positive] positiv
        [negative] negativ
        [neutral] neutral
        [mixed] gemischt
        [hot] hoch
        [warm] mittel
        [cold] gering
       *[other] { $word }
    }
more_fields = (Weitere Felder werden hier nicht angezeigt.)
agent = Agent
transcript = Gesprächsprotokoll

# Mehrere Ereignisse in einer Nachricht.
digest = Übersicht über { $many }
while_quiet = { $many } während der Ruhezeit
calls = { $count ->
        [one] { $count } Anruf
       *[other] { $count } Anrufe
    }
events = { $count ->
        [one] { $count } Ereignis
       *[other] { $count } Ereignisse
    }
and_more_calls = { $count ->
        [one] und { $count } weiterer Anruf
       *[other] und { $count } weitere Anrufe
    }
and_more_events = { $count ->
        [one] und { $count } weiteres Ereignis
       *[other] und { $count } weitere Ereignisse
    }
and_more_calls_of = { $calls ->
        [one] und { $calls } weiterer Anruf ({ $events } Ereignisse)
       *[other] und { $calls } weitere Anrufe ({ $events } Ereignisse)
    }
of_one_call = ({ $events } Ereignisse)
held_back = { $count ->
        [one] { $count } Benachrichtigung zurückgehalten { $since }
       *[other] { $count } Benachrichtigungen zurückgehalten { $since }
    }
at_once = { $many } gleichzeitig
within = { $many } in { $span }
period = Zeitraum: { $from } bis { $to }
many_since = { $many } { $since }
and_more = { $count ->
        [one] und { $count } weiterer Eintrag
       *[other] und { $count } weitere Einträge
    }
and_more_turns = { $count ->
        [one] und { $count } weiterer Beitrag
       *[other] und { $count } weitere Beiträge
    }
also = Außerdem: { $also }
title_also = { $title } (außerdem: { $also })
and_more_rules = { $count ->
        [one] und { $count } weitere
       *[other] und { $count } weitere
    }

# Hinweise zur Nachricht selbst.
waited_for_quiet = Diese Nachricht hat das Ende der Ruhezeit abgewartet.
waited_for_group = Diese Nachricht hat auf weitere Ereignisse ihrer Gruppe gewartet.
held_by_throttle = Diese Nachricht wurde durch die Begrenzung (throttle) der Regel zurückgehalten.
too_large = (Dieser Anruf ist zu umfangreich, um hier vollständig angezeigt zu werden.)
default_title = (Dies ist der Standardtitel, denn der Titel der Regel ließ sich nicht erzeugen: { $error })
default_body = (Dies ist der Standardtext, denn der Text der Regel ließ sich nicht erzeugen: { $error })
no_advice_of = (Was laut { $rule } zu tun ist, ließ sich nicht erzeugen: { $error })
no_title_of = (Der Titel von { $rule } ließ sich nicht erzeugen: { $error })
no_room = Für den Rest dieser Nachricht ist in Slack kein Platz.
transcript_goes_on = … der Rest des Gesprächsprotokolls wird hier nicht angezeigt

# Herkunft.
warning = Warnung
critical = dringend
rule_word = { $count ->
        [one] Regel
       *[other] Regeln
    }
source_word = Quelle
alert_of = Sie erhalten Meldungen über callwatch selbst ([alerts] in seiner Konfiguration)
call_word = Anruf
-ring = Rufen Sie zur Probe die Nummer an, unter der der Sprachagent Anrufe annimmt; meldet er sich nicht, wenden Sie sich an seinen Anbieter.
-forward = Kümmert sich jemand anderes um callwatch, leiten Sie diese Nachricht jetzt an diese Person weiter; alles Folgende ist für sie bestimmt.
what_to_do = Zu tun
advice = { $urgency ->
        [critical] Rufen Sie so bald wie möglich zurück, falls es noch niemand getan hat.
        [warning] Rufen Sie heute noch zurück, falls es noch niemand getan hat.
        [unsettled] Prüfen Sie die Zusammenfassung: Vielleicht ist noch etwas zu erledigen, etwa ein Rückruf.
       *[other] Nichts, es sei denn, laut Zusammenfassung ist noch etwas offen, etwa ein zugesagter Rückruf.
    }
advice_unsaid = { $urgency ->
        [critical] Gehen Sie dem jetzt nach.
        [warning] Gehen Sie dem noch heute nach.
        [unsettled] Gehen Sie dem nach: Vielleicht ist noch etwas zu tun.
       *[other] Nichts; dies dient nur zur Information.
    }
advice_deleted = Nichts, wenn der Anruf absichtlich gelöscht wurde; sonst fragen Sie den Anbieter des Sprachagenten.
silent_advice = { -ring }
why = Grund für diese Nachricht: { $what }
began = Beginn: { $when }
noticed = bemerkt: { $when }
open_call = Anruf öffnen
open_details = Einzelheiten in callwatch
open_page = callwatch öffnen

# callwatch selbst.
reason = Technische Details: { $error }
reason_of_last = Technische Details zur letzten: { $error }
source_failing_title = { $cause ->
        [missing] In der Liste von { $source } fehlen Anrufe
        [flood] Bei { $source } tauchen zu viele Anrufe auf
        [full] Neue Anrufe von { $source } werden ausgelassen
       *[other] callwatch sieht die Anrufe von { $source } nicht mehr
    }
source_failing = { $cause ->
        [missing] In der Liste von { $source } fehlen{ $since } Anrufe, die callwatch kennt. Alle anderen Anrufe werden wie gewohnt gemeldet.
        [flood] Bei { $source } tauchen{ $since } mehr Anrufe auf, als plausibel ist.
        [full] callwatch hat die Höchstzahl gespeicherter Anrufe von { $source } erreicht und lässt{ $since } neue aus: Niemand erfährt von ihnen.
       *[other] callwatch kann die Anrufe von { $source }{ $since } nicht mehr abrufen und meldet daher keine neuen. Ob Anrufe angenommen werden, lässt sich daran nicht erkennen. callwatch versucht es weiter; sobald der Abruf wieder gelingt, meldet es das auf demselben Weg und reicht die Anrufe aus der Zwischenzeit nach.
    }
source_advice = { $cause ->
        [missing]
            { -forward }
            Wurden diese Anrufe absichtlich gelöscht, müssen Sie nichts tun; sonst fragen Sie den Anbieter des Sprachagenten, wo sie geblieben sind.
        [flood]
            { -forward }
            Sind diese Anrufe echt, müssen Sie nichts tun; sonst fragen Sie den Anbieter des Sprachagenten danach und halten Sie die überfluteten Ziele an.
        [full]
            { -forward }
            Erhöhen Sie den Wert `max_calls` der Quelle in der Konfiguration.
        [key]
            { -ring }
            { -forward }
            Die API des Anbieters weist den Schlüssel zurück; das gibt sich nicht von selbst: Berichtigen Sie `api_key` in der Konfiguration oder die Liste der Adressen, die ihn verwenden dürfen.
        [limited]
            { -ring }
            { -forward }
            Die API des Anbieters erhält zu viele Anfragen; das gibt sich oft von selbst. Kommt innerhalb von 15 Minuten keine Entwarnung, verringern Sie `requests_per_minute` oder finden Sie heraus, was die API sonst noch von derselben Adresse aus nutzt.
        [server]
            { -ring }
            { -forward }
            Die API des Anbieters ist gestört; das gibt sich oft von selbst. Kommt innerhalb von 15 Minuten keine Entwarnung, wenden Sie sich an den Anbieter.
        [answer]
            { -ring }
            { -forward }
            Die API des Anbieters antwortet anders als erwartet: Prüfen Sie `base_url` in der Konfiguration; stimmt die Adresse, fragen Sie den Anbieter, was sich geändert hat.
       *[other]
            { -ring }
            { -forward }
            Die API des Anbieters ist nicht erreichbar oder lehnt Verbindungen ab; das gibt sich oft von selbst. Kommt innerhalb von 15 Minuten keine Entwarnung, prüfen Sie `base_url` in der Konfiguration und die Netzwerkverbindung des Servers, auf dem callwatch läuft; danach wenden Sie sich an den Anbieter.
    }
source_recovered_title = callwatch sieht die Anrufe von { $source } wieder
source_recovered = Mit den Anrufen von { $source } ist wieder alles in Ordnung. Die Störung bestand{ $since }; die Anrufe aus der Zwischenzeit werden jetzt gemeldet. Sie müssen nichts tun.
destination_failing_title = Ziel { $destination } ist gestört
destination_paused_title = Ziel { $destination } wartet auf Sie
destination_failing = { $destination } hat{ $since } nichts angenommen. { $waiting }
waits_for_answer = { $count ->
        [0] Es wartet nichts; was hinzukommt, wird gesendet, sobald das Ziel wieder antwortet.
        [one] { $count } Benachrichtigung wartet; sie wird gesendet, sobald das Ziel wieder antwortet.
       *[other] { $count } Benachrichtigungen warten; sie werden gesendet, sobald das Ziel wieder antwortet.
    }
waits_for_person = { $count ->
        [0] Es wartet nichts; gesendet wird erst wieder, wenn das Ziel wieder freigegeben ist.
        [one] { $count } Benachrichtigung wartet; gesendet wird erst wieder, wenn das Ziel wieder freigegeben ist.
       *[other] { $count } Benachrichtigungen warten; gesendet wird erst wieder, wenn das Ziel wieder freigegeben ist.
    }
destination_advice =
    { -forward }
    Kommt innerhalb von 15 Minuten keine Entwarnung, finden Sie heraus, warum das Ziel nicht antwortet; `{ $list }` zeigt, was wartet.
destination_paused_advice =
    { -forward }
    Beheben Sie das gemeldete Problem und führen Sie dann `{ $resume }` aus; `{ $list }` zeigt, was wartet.
destination_recovered_title = Ziel { $destination } nimmt wieder Benachrichtigungen an
destination_recovered = { $count ->
        [0] { $destination } hatte{ $since } nichts angenommen. Jetzt wartet nichts mehr.
        [one] { $destination } hatte{ $since } nichts angenommen. { $count } Benachrichtigung hat gewartet und wird jetzt gesendet.
       *[other] { $destination } hatte{ $since } nichts angenommen. { $count } Benachrichtigungen haben gewartet und werden jetzt gesendet.
    }
delivery_dead_title = { $count ->
        [one] Zustellung von { $count } Benachrichtigung an { $destination } aufgegeben
       *[other] Zustellung von { $count } Benachrichtigungen an { $destination } aufgegeben
    }
delivery_dead = { $count ->
        [one] callwatch hat{ $since } die Zustellung von { $count } Benachrichtigung aufgegeben. Die Benachrichtigung bleibt erhalten.
       *[other] callwatch hat{ $since } die Zustellung von { $count } Benachrichtigungen aufgegeben. Die Benachrichtigungen bleiben erhalten.
    }
delivery_dead_advice = { $count ->
        [one]
            { -forward }
            Beheben Sie die Ursache und führen Sie dann `{ $retry }` aus; damit wird die Benachrichtigung erneut gesendet; `{ $list }` zeigt sie.
       *[other]
            { -forward }
            Beheben Sie die Ursachen und führen Sie dann `{ $retry }` aus; damit werden die Benachrichtigungen erneut gesendet; `{ $list }` zeigt sie.
    }
rule_failing_title = Regel { $rule } funktioniert nicht
rule_failing = Die Bedingung von { $rule } ließ sich{ $since } für keinen der letzten Anrufe von { $source } auswerten. Die Regel meldet nichts, bis das behoben ist.
rule_failing_advice =
    { -forward }
    Berichtigen Sie die Bedingung `when` der Regel in der Konfiguration.
config_rejected_title = Die neue Konfiguration wird nicht verwendet
config_rejected = Die Konfiguration auf der Festplatte konnte nicht übernommen werden. callwatch arbeitet mit der bisherigen weiter.
config_rejected_advice =
    { -forward }
    Berichtigen Sie die Konfiguration; `{ $check }` zeigt alle Fehler.

# Datum und Uhrzeit.
date_and_time_format = %a., %d.%m.%Y, %H:%M Uhr { $zone }
day_and_time_format = %d.%m., %H:%M
time_format = %H:%M
time_this_week_format = %a., %H:%M
time_this_year_format = %a., %d.%m., %H:%M
time_any_year_format = %a., %d.%m.%Y, %H:%M
time_and_zone_format = %H:%M Uhr { $zone }
local_time_format = %d.%m.%Y, %H:%M
since_format = seit %H:%M Uhr { $zone }
since_this_week_format = seit %A, %H:%M Uhr { $zone }
since_this_year_format = seit %A, dem %-d. %B, %H:%M Uhr { $zone }
since_any_year_format = seit %A, dem %-d. %B %Y, %H:%M Uhr { $zone }
silent_since_format = Seit %A, dem %-d. %B %Y, %H:%M Uhr { $zone }, ist kein Anruf eingegangen.
zone_name = { $name ->
        [CET] MEZ
        [CEST] MESZ
       *[other] { $name }
    }

# Dauer.
seconds = { $count } s
minutes = { $count } min
hours = { $count } h
days = { $count ->
        [one] { $count } Tag
       *[other] { $count } Tage
    }
