// Keeps what a page shows up to date: replaces the parts that have changed, and touches nothing else. Without it the page
// works the same, as of when it was loaded.
"use strict";
(() => {
  const state = document.getElementById("state");
  const pause = document.getElementById("pause");
  if (!state || !document.querySelector("main [data-live]")) return;

  const AT_LEAST_EVERY = 15000; // A page that nothing happens on still tells how long ago that is.
  const AGAIN_AFTER = 5000;
  let stream = null, timer = 0, busy = false, missed = false, paused = false;

  // What somebody is writing in, or has opened, stays as it is.
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
    if (busy) { missed = true; return; }
    busy = true;
    clearTimeout(timer);
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(10000) });
      if (new URL(answer.url).pathname === "/sign-in") { location.reload(); return; }
      if (answer.ok && !paused) show(await answer.text());
      state.textContent = answer.ok ? "live ·" : "not answered, as of";
    } catch {
      state.textContent = "not reached, as of";
    } finally {
      busy = false;
      if (!paused) timer = setTimeout(refresh, AT_LEAST_EVERY);
      if (missed) { missed = false; setTimeout(refresh, 1000); }
    }
  };

  const open = () => {
    if (stream || paused || document.hidden) return;
    stream = new EventSource("/events");
    stream.onopen = () => { state.textContent = "live ·"; };
    stream.onmessage = refresh;
    stream.onerror = () => {
      state.textContent = "not reached, as of";
      // The browser tries again by itself, unless it was refused.
      if (stream && stream.readyState === EventSource.CLOSED) { close(); setTimeout(open, AGAIN_AFTER); }
    };
    timer = setTimeout(refresh, AT_LEAST_EVERY);
  };

  const close = () => {
    if (stream) stream.close();
    stream = null;
    clearTimeout(timer);
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "go on" : "pause";
    if (paused) { close(); state.textContent = "paused, as of"; } else { open(); refresh(); }
  });
  // A page that nobody looks at keeps no connection open.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close(); else if (!paused) { open(); refresh(); }
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
  open();
})();
