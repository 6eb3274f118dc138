// Keeps what a page shows up to date: replaces the parts that have changed, and touches nothing else. Without it the page
// works the same, as of when it was loaded.
"use strict";
(() => {
  const state = document.getElementById("state");
  const pause = document.getElementById("pause");
  if (!state || !document.querySelector("main [data-live]")) return;

  const AT_LEAST_EVERY = 15000; // A page that nothing happens on still tells how long ago that is; so does one without a stream.
  const SOONEST = 1000; // A stream that ends or is refused is opened again after this time,
  const LATEST = 30000; // and after twice as long each time it fails, up to this.
  let stream = null, looks = 0, opens = 0, wait = SOONEST, busy = false, missed = false, paused = false;

  const say = (text) => { if (!paused) state.textContent = text; };

  // What somebody is writing in, or has selected, stays as it is.
  const isInUse = (part) =>
    (part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) ||
    (window.getSelection().toString() && part.contains(window.getSelection().anchorNode));

  const keepOpen = (old, fresh) => {
    const isOpen = [...old.querySelectorAll("details")].map((it) => it.open);
    fresh.querySelectorAll("details").forEach((it, at) => { it.open = isOpen[at] || it.open; });
  };

  const show = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    document.title = fresh.title;
    const icons = [document, fresh].map((it) => it.getElementById("icon"));
    if (icons[1] && icons[0].getAttribute("href") !== icons[1].getAttribute("href")) icons[0].href = icons[1].href;
    for (const old of document.querySelectorAll("[data-live]")) {
      const part = fresh.getElementById(old.id);
      if (!part || isInUse(old)) continue;
      keepOpen(old, part);
      if (part.innerHTML === old.innerHTML && part.className === old.className) continue;
      // The keyboard stays on what it was on.
      const all = (it) => [...it.querySelectorAll("a, button, summary")];
      const at = all(old).indexOf(document.activeElement);
      old.className = part.className;
      old.replaceChildren(...part.childNodes);
      if (at >= 0) (all(old)[at] || old).focus({ preventScroll: true });
    }
  };

  const refresh = async () => {
    if (paused || document.hidden) return;
    if (busy) { missed = true; return; }
    busy = true;
    clearTimeout(looks);
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(10000) });
      if (new URL(answer.url).pathname === "/sign-in") { location.reload(); return; }
      const text = await answer.text();
      if (answer.ok && !paused) show(text);
      say(answer.ok ? "live ·" : "not answered, as of");
    } catch {
      say("not reached, as of");
    } finally {
      busy = false;
      clearTimeout(looks);
      looks = setTimeout(refresh, missed ? SOONEST : AT_LEAST_EVERY);
      missed = false;
    }
  };

  const open = () => {
    clearTimeout(opens);
    if (stream || paused || document.hidden) return;
    stream = new EventSource("/events");
    stream.onopen = () => { wait = SOONEST; say("live ·"); };
    stream.onmessage = refresh;
    stream.onerror = () => {
      close();
      // Whether it is the stream alone or the whole server is found out at once.
      clearTimeout(looks);
      looks = setTimeout(refresh, SOONEST);
      // Not all pages at once: they lost their streams at the same moment.
      opens = setTimeout(open, wait * (0.5 + Math.random()));
      wait = Math.min(wait * 2, LATEST);
    };
  };

  const close = () => {
    clearTimeout(opens);
    if (stream) stream.close();
    stream = null;
  };

  const begin = () => { open(); clearTimeout(looks); looks = setTimeout(refresh, AT_LEAST_EVERY); };
  const end = () => { close(); clearTimeout(looks); };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    if (!paused) say("paused, as of");
    paused = !paused;
    pause.textContent = paused ? "go on" : "pause";
    if (paused) end(); else { begin(); refresh(); }
  });
  // A page that nobody looks at keeps no connection open.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) end(); else if (!paused) { begin(); refresh(); }
  });
  window.addEventListener("pagehide", end);
  window.addEventListener("pageshow", (event) => { if (event.persisted && !paused) { begin(); refresh(); } });
  begin();
})();
