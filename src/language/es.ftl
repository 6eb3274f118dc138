# Títulos.
call_started = Llamada iniciada
call_ended = Llamada finalizada
call_analyzed = Llamada analizada
call_updated = Llamada modificada
call_deleted = Llamada eliminada
no_calls_in = Sin llamadas en { $source }
no_calls_in_for = Sin llamadas en { $source } desde hace { $span }
rule_for = { $rule } desde hace { $span }
test = [prueba]
unhappy_caller = Cliente descontento

# Asunto de todos los mensajes sobre una misma llamada.
conversation = Llamada de { $caller }, { $when }
conversation_unknown = Llamada de un número desconocido, { $when }
conversation_bare = Llamada, { $when }
conversation_of = Llamada { $call } de { $caller }
conversation_id = Llamada { $call }

# Etiquetas y valores.
caller = Llamante
called = Número marcado
status = Estado
outcome = Objetivo
how_it_ended = Finalizada por
engaged = Hubo conversación
rules = Reglas
live_now = En curso
yes = sí
no = no
unknown_number = número desconocido
changed = modificado
now = ahora { $value }
removed = eliminado
field = { $name ->
        [status] Estado
        [duration] Duración
        [summary] Resumen
        [evaluation] Objetivo
        [endedReason] Finalizada por
        [callerNumber] Número del llamante
        [calledNumber] Número marcado
        [isEngaged] Hubo conversación
        [callAnalysis] Análisis
        [transcript] Transcripción
        [createdAt] Inicio
        [sentiment] Ánimo del llamante
        [leadQuality] Potencial comercial
        [appointmentBooked] Cita concertada
       *[other] { $label }
    }
word = { $key ->
        [live] en curso
        [completed] finalizada
        [failed] fallida
        [no_answer] sin respuesta
        [busy] ocupado
        [canceled] cancelada
        [cancelled] cancelada
        [voicemail] buzón de voz
        [missed] perdida
        [success] alcanzado
        [fail] no alcanzado
        [user_hangup] el llamante
        [agent_hangup] el agente
        [customer_ended_call] el llamante
        [assistant_ended_call] el agente
        [silence_timeout] el silencio
        [positive] positivo
        [negative] negativo
        [neutral] neutro
        [mixed] mixto
        [hot] alto
        [warm] medio
        [cold] bajo
       *[other] { $word }
    }
more_fields = (Hay más campos de los que se muestran aquí.)
agent = Agente
transcript = Transcripción

# Varios eventos en un solo mensaje.
digest = Resumen de { $many }
while_quiet = { $many } durante las horas de silencio
calls = { $count ->
        [one] { $count } llamada
       *[other] { $count } llamadas
    }
events = { $count ->
        [one] { $count } evento
       *[other] { $count } eventos
    }
and_more_calls = { $count ->
        [one] y { $count } llamada más
       *[other] y { $count } llamadas más
    }
and_more_events = { $count ->
        [one] y { $count } evento más
       *[other] y { $count } eventos más
    }
and_more_calls_of = { $calls ->
        [one] y { $calls } llamada más ({ $events } eventos)
       *[other] y { $calls } llamadas más ({ $events } eventos)
    }
of_one_call = ({ $events } eventos)
held_back = { $count ->
        [one] { $count } notificación retenida { $since }
       *[other] { $count } notificaciones retenidas { $since }
    }
at_once = { $many } a la vez
within = { $many } en { $span }
period = Período: de { $from } a { $to }
many_since = { $many } { $since }
and_more = y { $count } más
and_more_turns = { $count ->
        [one] y { $count } intervención más
       *[other] y { $count } intervenciones más
    }
also = También: { $also }
title_also = { $title } (también: { $also })
and_more_rules = y { $count } más

# Observaciones sobre el propio mensaje.
waited_for_quiet = Este mensaje esperó a que terminaran las horas de silencio.
waited_for_group = Este mensaje esperó a otros eventos de su grupo.
held_by_throttle = Este mensaje fue retenido por la limitación (throttle) de la regla.
too_large = (Esta llamada es demasiado extensa para mostrarla aquí completa.)
default_title = (Título predeterminado, porque no se pudo generar el de la regla: { $error })
default_body = (Texto predeterminado, porque no se pudo generar el de la regla: { $error })
no_advice_of = (No se pudo generar el consejo de { $rule }: { $error })
no_title_of = (No se pudo generar el título de { $rule }: { $error })
no_room = El resto de este mensaje no cabe en Slack.
transcript_goes_on = … el resto de la transcripción no se muestra aquí

# Procedencia.
warning = advertencia
critical = urgente
rule_word = { $count ->
        [one] regla
       *[other] reglas
    }
source_word = fuente
alert_of = usted recibe los avisos sobre el propio callwatch ([alerts] en su configuración)
call_word = llamada
-ring = Llame al número que atiende el agente de voz para comprobar que contesta; si no lo hace, póngase en contacto con el proveedor del agente.
-forward = Si otra persona se encarga de callwatch, reenvíele este mensaje ya; lo que sigue es para ella.
what_to_do = Qué hacer
advice = { $urgency ->
        [critical] Devuelva la llamada cuanto antes, salvo que alguien ya lo haya hecho.
        [warning] Devuelva la llamada hoy, salvo que alguien ya lo haya hecho.
        [unsettled] Revise el resumen: puede que quede algo pendiente, como devolver la llamada.
       *[other] Nada, salvo que, según el resumen, quede algo pendiente, como una llamada que se prometió devolver.
    }
advice_unsaid = { $urgency ->
        [critical] Compruebe ahora qué ocurre.
        [warning] Compruebe hoy qué ocurre.
        [unsettled] Compruebe qué ha ocurrido: puede que quede algo pendiente.
       *[other] Nada; este mensaje es solo informativo.
    }
advice_deleted = Nada si la llamada se eliminó a propósito; si no, pregunte al proveedor del agente de voz.
silent_advice = { -ring }
why = Motivo de este mensaje: { $what }
began = inicio: { $when }
noticed = detectado: { $when }
open_call = Abrir la llamada
open_details = Detalles en callwatch
open_page = Abrir callwatch

# El propio callwatch.
reason = Detalle técnico: { $error }
reason_of_last = Detalle técnico de la última: { $error }
source_failing_title = { $cause ->
        [missing] Faltan llamadas en la lista de { $source }
        [flood] Aparecen demasiadas llamadas en { $source }
        [full] Se omiten llamadas nuevas de { $source }
       *[other] callwatch ya no ve las llamadas de { $source }
    }
source_failing = { $cause ->
        [missing] En la lista de { $source } faltan{ $since } llamadas que callwatch conoce. Todas las demás se notifican como siempre.
        [flood] En { $source } aparecen{ $since } más llamadas de lo que es verosímil.
        [full] callwatch ha alcanzado el máximo de llamadas de { $source } que puede guardar y omite las nuevas{ $since }: nadie se entera de ellas.
       *[other] callwatch no consigue consultar las llamadas de { $source }{ $since }, por lo que no avisa de las nuevas. Esto no indica si las llamadas se atienden. callwatch lo sigue intentando; en cuanto lo consiga, se lo comunicará por esta misma vía y notificará con retraso las llamadas recibidas entretanto.
    }
source_advice = { $cause ->
        [missing]
            { -forward }
            Si esas llamadas se eliminaron a propósito, no hay que hacer nada; si no, pregunte al proveedor del agente de voz dónde están.
        [flood]
            { -forward }
            Si esas llamadas son reales, no hay que hacer nada; si no, consulte al proveedor del agente de voz y pause los destinos desbordados.
        [full]
            { -forward }
            Aumente el valor `max_calls` de la fuente en la configuración.
        [key]
            { -ring }
            { -forward }
            La API del proveedor rechaza la clave, lo que no se resuelve solo: corrija `api_key` en la configuración, o la lista de direcciones que pueden usarla.
        [limited]
            { -ring }
            { -forward }
            La API del proveedor recibe demasiadas peticiones, lo que a menudo se resuelve solo. Si en 15 minutos no llega el aviso de que todo vuelve a funcionar, reduzca `requests_per_minute` o averigüe qué más usa la API desde la misma dirección.
        [server]
            { -ring }
            { -forward }
            La API del proveedor tiene problemas, lo que a menudo se resuelve solo. Si en 15 minutos no llega el aviso de que todo vuelve a funcionar, póngase en contacto con el proveedor.
        [answer]
            { -ring }
            { -forward }
            La API del proveedor no responde como se esperaba: compruebe `base_url` en la configuración; si la dirección es correcta, pregunte al proveedor qué ha cambiado.
       *[other]
            { -ring }
            { -forward }
            La API del proveedor no está accesible o rechaza las conexiones, lo que a menudo se resuelve solo. Si en 15 minutos no llega el aviso de que todo vuelve a funcionar, compruebe `base_url` en la configuración y la conexión de red del servidor en el que se ejecuta callwatch, y después póngase en contacto con el proveedor.
    }
source_recovered_title = callwatch vuelve a ver las llamadas de { $source }
source_recovered = Todo vuelve a estar en orden con las llamadas de { $source }. Había un problema{ $since }; las llamadas recibidas entretanto se notifican ahora. No hay que hacer nada.
destination_failing_title = El destino { $destination } está fallando
destination_paused_title = El destino { $destination } espera su intervención
destination_failing = { $destination } no ha aceptado nada{ $since }. { $waiting }
waits_for_answer = { $count ->
        [0] No hay nada en espera; lo que llegue se enviará en cuanto el destino vuelva a responder.
        [one] Hay { $count } notificación en espera; se enviará en cuanto el destino vuelva a responder.
       *[other] Hay { $count } notificaciones en espera; se enviarán en cuanto el destino vuelva a responder.
    }
waits_for_person = { $count ->
        [0] No hay nada en espera; no se enviará nada hasta que se reactive el destino.
        [one] Hay { $count } notificación en espera; no se enviará nada hasta que se reactive el destino.
       *[other] Hay { $count } notificaciones en espera; no se enviará nada hasta que se reactive el destino.
    }
destination_advice =
    { -forward }
    Si en 15 minutos no llega el aviso de que todo vuelve a funcionar, averigüe por qué el destino no responde; `{ $list }` muestra lo que está en espera.
destination_paused_advice =
    { -forward }
    Corrija el problema señalado y ejecute `{ $resume }`; `{ $list }` muestra lo que está en espera.
destination_recovered_title = El destino { $destination } vuelve a aceptar notificaciones
destination_recovered = { $count ->
        [0] { $destination } no había aceptado nada{ $since }. Ya no hay nada en espera.
        [one] { $destination } no había aceptado nada{ $since }. Había { $count } notificación en espera, que se envía ahora.
       *[other] { $destination } no había aceptado nada{ $since }. Había { $count } notificaciones en espera, que se envían ahora.
    }
delivery_dead_title = { $count ->
        [one] Entrega de { $count } notificación a { $destination } abandonada
       *[other] Entrega de { $count } notificaciones a { $destination } abandonada
    }
delivery_dead = { $count ->
        [one] Se ha abandonado{ $since } la entrega de { $count } notificación. La notificación se conserva.
       *[other] Se ha abandonado{ $since } la entrega de { $count } notificaciones. Las notificaciones se conservan.
    }
delivery_dead_advice = { $count ->
        [one]
            { -forward }
            Corrija la causa y ejecute `{ $retry }`, que vuelve a enviar la notificación; `{ $list }` la muestra.
       *[other]
            { -forward }
            Corrija las causas y ejecute `{ $retry }`, que vuelve a enviar las notificaciones; `{ $list }` las muestra.
    }
rule_failing_title = La regla { $rule } no funciona
rule_failing = No se ha podido evaluar la condición de { $rule } para ninguna de las últimas llamadas de { $source }{ $since }. La regla no notificará nada hasta que se arregle.
rule_failing_advice =
    { -forward }
    Corrija la condición `when` de la regla en la configuración.
config_rejected_title = La nueva configuración no se utiliza
config_rejected = No se ha podido aplicar la configuración guardada en el disco. callwatch sigue con la anterior.
config_rejected_advice =
    { -forward }
    Corrija la configuración; `{ $check }` muestra todos los errores.

# Fechas y horas.
date_and_time_format = %a, %-d %b %Y, %H:%M { $zone }
day_and_time_format = %-d %b %H:%M
time_format = %H:%M
time_this_week_format = %a %H:%M
time_this_year_format = %a, %-d %b, %H:%M
time_any_year_format = %a, %-d %b %Y, %H:%M
time_and_zone_format = %H:%M { $zone }
local_time_format = %-d %b %Y, %H:%M
since_format = { $hour ->
        [1] desde la %H:%M { $zone }
       *[other] desde las %H:%M { $zone }
    }
since_this_week_format = { $hour ->
        [1] desde el %A a la %H:%M { $zone }
       *[other] desde el %A a las %H:%M { $zone }
    }
since_this_year_format = { $hour ->
        [1] desde el %A %-d de %B a la %H:%M { $zone }
       *[other] desde el %A %-d de %B a las %H:%M { $zone }
    }
since_any_year_format = { $hour ->
        [1] desde el %A %-d de %B de %Y a la %H:%M { $zone }
       *[other] desde el %A %-d de %B de %Y a las %H:%M { $zone }
    }
silent_since_format = { $hour ->
        [1] No ha entrado ninguna llamada desde el %A %-d de %B de %Y a la %H:%M { $zone }.
       *[other] No ha entrado ninguna llamada desde el %A %-d de %B de %Y a las %H:%M { $zone }.
    }
zone_name = { $name }

# Duraciones.
seconds = { $count } s
minutes = { $count } min
hours = { $count } h
days = { $count ->
        [one] { $count } día
       *[other] { $count } días
    }
