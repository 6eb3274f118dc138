# Titres. Les espaces devant : et ; sont fines et insécables (U+202F), celles entre un nombre et son unité insécables (U+00A0).
call_started = Appel démarré
call_ended = Appel terminé
call_analyzed = Appel analysé
call_updated = Appel modifié
call_deleted = Appel supprimé
no_calls_in = Aucun appel dans { $source }
no_calls_in_for = Aucun appel dans { $source } depuis { $span }
rule_for = { $rule } depuis { $span }
test = [test]
unhappy_caller = Client mécontent

# Objet de tous les messages au sujet d’un même appel.
conversation = Appel de { $caller }, { $when }
conversation_unknown = Appel d’un numéro inconnu, { $when }
conversation_bare = Appel, { $when }
conversation_of = Appel { $call } de { $caller }
conversation_id = Appel { $call }

# Libellés et valeurs.
caller = Appelant
called = Numéro appelé
status = Statut
outcome = Objectif
how_it_ended = Terminé par
engaged = Véritable échange
rules = Règles
live_now = En cours
yes = oui
no = non
unknown_number = numéro inconnu
changed = modifié
now = désormais { $value }
removed = supprimé
field = { $name ->
        [status] Statut
        [duration] Durée
        [summary] Résumé
        [evaluation] Objectif
        [endedReason] Terminé par
        [callerNumber] Numéro de l’appelant
        [calledNumber] Numéro appelé
        [isEngaged] Véritable échange
        [callAnalysis] Analyse
        [transcript] Transcription
        [createdAt] Début
        [sentiment] Ressenti de l’appelant
        [leadQuality] Potentiel commercial
        [appointmentBooked] Rendez-vous pris
       *[other] { $label }
    }
word = { $key ->
        [live] en cours
        [completed] terminé
        [failed] échoué
        [no_answer] sans réponse
        [busy] occupé
        [canceled] annulé
        [cancelled] annulé
        [voicemail] messagerie vocale
        [missed] manqué
        [success] atteint
        [fail] non atteint
        [user_hangup] l’appelant
        [agent_hangup] l’agent
        [customer_ended_call] l’appelant
        [assistant_ended_call] l’agent
        [silence_timeout] un silence
        [positive] positif
        [negative] négatif
        [neutral] neutre
        [mixed] mitigé
        [hot] élevé
        [warm] moyen
        [cold] faible
       *[other] { $word }
    }
more_fields = (D’autres champs ne sont pas affichés ici.)
agent = Agent
transcript = Transcription

# Plusieurs événements en un seul message.
digest = Récapitulatif de { $many }
while_quiet = { $many } pendant les heures calmes
calls = { $count ->
        [one] { $count } appel
       *[other] { $count } appels
    }
events = { $count ->
        [one] { $count } événement
       *[other] { $count } événements
    }
and_more_calls = { $count ->
        [one] et { $count } autre appel
       *[other] et { $count } autres appels
    }
and_more_events = { $count ->
        [one] et { $count } autre événement
       *[other] et { $count } autres événements
    }
and_more_calls_of = { $calls ->
        [one] et { $calls } autre appel ({ $events } événements)
       *[other] et { $calls } autres appels ({ $events } événements)
    }
of_one_call = ({ $events } événements)
held_back = { $count ->
        [one] { $count } notification retenue { $since }
       *[other] { $count } notifications retenues { $since }
    }
at_once = { $many } en même temps
within = { $many } en { $span }
period = Période : de { $from } à { $to }
many_since = { $many } { $since }
and_more = { $count ->
        [one] et { $count } autre
       *[other] et { $count } autres
    }
and_more_turns = { $count ->
        [one] et { $count } autre réplique
       *[other] et { $count } autres répliques
    }
also = Également : { $also }
title_also = { $title } (également : { $also })
and_more_rules = { $count ->
        [one] et { $count } autre
       *[other] et { $count } autres
    }

# Remarques sur le message lui-même.
waited_for_quiet = Ce message a attendu la fin des heures calmes.
waited_for_group = Ce message a attendu d’autres événements de son groupe.
held_by_throttle = Ce message a été retenu par la limitation (throttle) de la règle.
too_large = (Cet appel est trop volumineux pour être affiché ici en entier.)
default_title = (Titre par défaut, car celui de la règle n’a pas pu être généré : { $error })
default_body = (Texte par défaut, car celui de la règle n’a pas pu être généré : { $error })
no_advice_of = (Le conseil de { $rule } n’a pas pu être généré : { $error })
no_title_of = (Le titre de { $rule } n’a pas pu être généré : { $error })
no_room = La suite de ce message dépasse la place disponible dans Slack.
transcript_goes_on = … la suite de la transcription n’est pas affichée ici

# Provenance.
warning = attention
critical = urgent
rule_word = { $count ->
        [one] règle
       *[other] règles
    }
source_word = source
alert_of = vous recevez les alertes sur callwatch lui-même ([alerts] dans sa configuration)
call_word = appel
-ring = Appelez le numéro auquel répond l’agent vocal pour vérifier qu’il décroche ; s’il ne décroche pas, contactez son prestataire.
-forward = Si une autre personne s’occupe de callwatch, transférez-lui ce message dès maintenant ; la suite lui est destinée.
what_to_do = À faire
advice = { $urgency ->
        [critical] Rappelez dès que possible, sauf si un collègue l’a déjà fait.
        [warning] Rappelez aujourd’hui, sauf si un collègue l’a déjà fait.
        [unsettled] Lisez le résumé : il reste peut-être une suite à donner, par exemple rappeler la personne.
       *[other] Rien, sauf s’il reste quelque chose à faire d’après le résumé, par exemple un rappel téléphonique promis.
    }
advice_unsaid = { $urgency ->
        [critical] Vérifiez maintenant ce qu’il en est.
        [warning] Vérifiez aujourd’hui ce qu’il en est.
        [unsettled] Vérifiez ce qu’il en est : il reste peut-être une suite à donner.
       *[other] Rien ; ce message est envoyé pour information.
    }
advice_deleted = Rien si l’appel a été supprimé volontairement ; sinon, renseignez-vous auprès du prestataire de l’agent vocal.
silent_advice = { -ring }
why = Pourquoi ce message : { $what }
began = début : { $when }
noticed = constaté : { $when }
open_call = Ouvrir l’appel
open_details = Détails dans callwatch
open_page = Ouvrir callwatch

# callwatch lui-même.
reason = Détail technique : { $error }
reason_of_last = Détail technique de la dernière : { $error }
source_failing_title = { $cause ->
        [missing] Des appels manquent dans la liste de { $source }
        [flood] Trop d’appels apparaissent dans { $source }
        [full] De nouveaux appels de { $source } sont ignorés
       *[other] callwatch n’a plus accès aux appels de { $source }
    }
source_failing = { $cause ->
        [missing] Des appels connus de callwatch manquent dans la liste de { $source }{ $since }. Tous les autres appels sont signalés normalement.
        [flood] Il apparaît{ $since } dans { $source } plus d’appels qu’il n’est plausible.
        [full] callwatch a atteint le nombre maximal d’appels de { $source } qu’il peut mémoriser et ignore{ $since } les nouveaux : personne n’en est informé.
       *[other] callwatch ne parvient plus à lire les appels de { $source }{ $since } et ne signale donc plus les nouveaux. Cela ne dit pas si l’agent vocal répond aux appels. callwatch continue d’essayer ; dès qu’il y parviendra, il vous en avertira par le même canal, et les appels reçus entre-temps seront signalés avec retard.
    }
source_advice = { $cause ->
        [missing]
            { -forward }
            Si ces appels ont été supprimés volontairement, il n’y a rien à faire ; sinon, demandez au prestataire de l’agent vocal où ils sont passés.
        [flood]
            { -forward }
            Si ces appels sont réels, il n’y a rien à faire ; sinon, renseignez-vous à leur sujet auprès du prestataire de l’agent vocal et suspendez les destinations submergées.
        [full]
            { -forward }
            Augmentez la valeur `max_calls` de la source dans la configuration.
        [key]
            { -ring }
            { -forward }
            L’API du prestataire refuse la clé, ce qui ne se règle pas tout seul : corrigez `api_key` dans la configuration, ou la liste des adresses autorisées à l’utiliser.
        [limited]
            { -ring }
            { -forward }
            L’API du prestataire reçoit trop de requêtes ; la situation se rétablit souvent d’elle-même. Si le retour à la normale n’est pas annoncé d’ici 15 minutes, diminuez `requests_per_minute` ou cherchez ce qui utilise aussi l’API depuis la même adresse.
        [server]
            { -ring }
            { -forward }
            L’API du prestataire est en panne ; la situation se rétablit souvent d’elle-même. Si le retour à la normale n’est pas annoncé d’ici 15 minutes, contactez le prestataire.
        [answer]
            { -ring }
            { -forward }
            L’API du prestataire ne répond pas comme prévu : vérifiez `base_url` dans la configuration ; si l’adresse est bonne, demandez au prestataire ce qui a changé.
       *[other]
            { -ring }
            { -forward }
            L’API du prestataire est injoignable ou refuse les connexions ; la situation se rétablit souvent d’elle-même. Si le retour à la normale n’est pas annoncé d’ici 15 minutes, vérifiez `base_url` dans la configuration et le réseau du serveur sur lequel tourne callwatch, puis contactez le prestataire.
    }
source_recovered_title = callwatch a de nouveau accès aux appels de { $source }
source_recovered = Tout est rentré dans l’ordre pour les appels de { $source }. Le problème durait{ $since } ; les appels reçus entre-temps sont signalés maintenant. Il n’y a rien à faire.
destination_failing_title = La destination { $destination } est en panne
destination_paused_title = La destination { $destination } attend votre intervention
destination_failing = { $destination } n’a rien accepté{ $since }. { $waiting }
waits_for_answer = { $count ->
        [0] Rien n’est en attente ; ce qui arrivera sera envoyé dès que la destination répondra de nouveau.
        [one] { $count } notification est en attente ; elle sera envoyée dès que la destination répondra de nouveau.
       *[other] { $count } notifications sont en attente ; elles seront envoyées dès que la destination répondra de nouveau.
    }
waits_for_person = { $count ->
        [0] Rien n’est en attente ; rien ne sera envoyé tant que la destination n’est pas réactivée.
        [one] { $count } notification est en attente ; rien ne sera envoyé tant que la destination n’est pas réactivée.
       *[other] { $count } notifications sont en attente ; rien ne sera envoyé tant que la destination n’est pas réactivée.
    }
destination_advice =
    { -forward }
    Si le retour à la normale n’est pas annoncé d’ici 15 minutes, cherchez pourquoi la destination ne répond pas ; `{ $list }` affiche ce qui est en attente.
destination_paused_advice =
    { -forward }
    Corrigez le problème signalé, puis lancez `{ $resume }` ; `{ $list }` affiche ce qui est en attente.
destination_recovered_title = La destination { $destination } accepte de nouveau les notifications
destination_recovered = { $count ->
        [0] { $destination } n’avait rien accepté{ $since }. Plus rien n’est en attente.
        [one] { $destination } n’avait rien accepté{ $since }. { $count } notification était en attente ; elle est envoyée maintenant.
       *[other] { $destination } n’avait rien accepté{ $since }. { $count } notifications étaient en attente ; elles sont envoyées maintenant.
    }
delivery_dead_title = { $count ->
        [one] Envoi de { $count } notification à { $destination } abandonné
       *[other] Envoi de { $count } notifications à { $destination } abandonné
    }
delivery_dead = { $count ->
        [one] callwatch a renoncé{ $since } à envoyer { $count } notification. Elle est conservée.
       *[other] callwatch a renoncé{ $since } à envoyer { $count } notifications. Elles sont conservées.
    }
delivery_dead_advice = { $count ->
        [one]
            { -forward }
            Éliminez la cause, puis lancez `{ $retry }`, qui renvoie la notification ; `{ $list }` l’affiche.
       *[other]
            { -forward }
            Éliminez les causes, puis lancez `{ $retry }`, qui renvoie les notifications ; `{ $list }` les affiche.
    }
rule_failing_title = La règle { $rule } ne fonctionne pas
rule_failing = La condition de { $rule } n’a pu être évaluée pour aucun des derniers appels de { $source }{ $since }. La règle ne signale rien tant que ce n’est pas réparé.
rule_failing_advice =
    { -forward }
    Corrigez la condition `when` de la règle dans la configuration.
config_rejected_title = La nouvelle configuration n’est pas utilisée
config_rejected = La configuration enregistrée sur le disque n’a pas pu être appliquée. callwatch continue avec la précédente.
config_rejected_advice =
    { -forward }
    Corrigez la configuration ; `{ $check }` montre toutes les erreurs.

# Dates et heures.
date_and_time_format = %a %-d %b %Y, %H:%M { $zone }
day_and_time_format = %-d %b %H:%M
time_format = %H:%M
time_this_week_format = %a %H:%M
time_this_year_format = %a %-d %b, %H:%M
time_any_year_format = %a %-d %b %Y, %H:%M
time_and_zone_format = %H:%M { $zone }
local_time_format = %-d %b %Y, %H:%M
since_format = depuis %H:%M { $zone }
since_this_week_format = depuis %A à %H:%M { $zone }
since_this_year_format = depuis le %A %-d %B à %H:%M { $zone }
since_any_year_format = depuis le %A %-d %B %Y à %H:%M { $zone }
silent_since_format = Aucun appel n’est arrivé depuis le %A %-d %B %Y à %H:%M { $zone }.
zone_name = { $name }

# Durées.
seconds = { $count } s
minutes = { $count } min
hours = { $count } h
days = { $count ->
        [one] { $count } jour
       *[other] { $count } jours
    }
