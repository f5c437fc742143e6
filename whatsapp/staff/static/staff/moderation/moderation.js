// The pages of moderation: timers, keys, pictures, and a queue that stays up to date. Without this script everything still works
// by its buttons; nothing here decides anything.
"use strict";
(() => {
  const root = document.getElementById("mod");
  if (!root) return;
  root.classList.add("mod-scripted");
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const REFRESH_MS = 15000;
  let skew = Number(root.dataset.now || Date.now()) - Date.now(); // server's clock minus this one

  // -- timers ---------------------------------------------------------------------------------------------------------------
  function span(ms) {
    const s = Math.floor(Math.abs(ms) / 1000);
    const two = (number) => String(number).padStart(2, "0");
    if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)} min`;
    if (s < 86400) return `${Math.floor(s / 3600)}:${two(Math.floor((s % 3600) / 60))} h`;
    return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  }

  function tick() {
    const now = Date.now() + skew;
    for (const timer of all(".mod-timer[data-due]")) {
      const due = Number(timer.dataset.due);
      const left = due - now;
      const whole = due - Number(timer.dataset.since || 0);
      // The last quarter of its time, or half an hour.
      const soon = left < Math.max(whole && timer.dataset.since ? whole / 4 : 0, 1800000);
      if (!("plain" in timer.dataset)) timer.dataset.state = left < 0 ? "late" : soon ? "soon" : "fine";
      const text = left < 0 ? `${span(left)} late` : span(left);
      if (timer.textContent !== text) timer.textContent = text;
      timer.title = `${new Date(due).toISOString().slice(0, 19).replace("T", " ")} UTC`;
    }
  }
  tick();
  setInterval(tick, 1000);

  // -- the queue stays up to date -------------------------------------------------------------------------------------------
  const rows = document.getElementById("mod-rows");
  const live = document.getElementById("mod-live");

  function chosen() {
    return document.activeElement?.closest?.("tr[data-case]")?.dataset.case;
  }

  async function refresh() {
    if (document.hidden || document.querySelector(":popover-open")) return;
    let answer = null;
    try {
      answer = await fetch(root.dataset.refresh, { credentials: "same-origin", redirect: "error" });
    } catch {
      answer = null;
    }
    if (!answer?.ok) {
      if (live) live.textContent = "Not up to date: the server does not answer.";
      return;
    }
    const made = new DOMParser().parseFromString(await answer.text(), "text/html").body; // our own server's, without scripts
    const at = chosen();
    const inside = rows.contains(document.activeElement) ? document.activeElement : null;
    if (inside && !at) return; // somebody walks through the tabs by keyboard
    const claim = inside?.classList.contains("mod-claim");
    rows.replaceChildren(...made.childNodes);
    if (at) {
      const row = rows.querySelector(`tr[data-case="${at}"]`);
      (claim ? row?.querySelector(".mod-claim") : null ?? row?.querySelector(".mod-open"))?.focus();
    }
    if (live) live.textContent = "";
    tick();
  }
  if (rows && root.dataset.refresh) {
    setInterval(refresh, REFRESH_MS);
    document.addEventListener("visibilitychange", refresh);
  }
  for (const select of all("[data-submits]")) select.addEventListener("change", () => select.form.requestSubmit());

  // -- keys -----------------------------------------------------------------------------------------------------------------
  function step(by) {
    const places = all(root.dataset.page === "queue" ? ".mod-open" : ".mod-message");
    if (!places.length) return;
    const row = document.activeElement?.closest?.("tr[data-case], .mod-message");
    const here = places.findIndex((place) => place === row || row?.contains(place));
    const next = here < 0 ? (by > 0 ? 0 : places.length - 1) : Math.min(Math.max(here + by, 0), places.length - 1);
    places[next].focus();
    places[next].scrollIntoView({ block: "nearest" });
  }

  function press(element) {
    if (element) element.click();
    return Boolean(element);
  }

  function pressed(key) {
    const open = document.querySelector("[popover]:popover-open");
    if (open && open.id !== "mod-help") return /^[1-9]$/.test(key) && press(all(".mod-reason", open)[Number(key) - 1]);
    if (key === "?") {
      document.getElementById("mod-help")?.togglePopover();
      return true;
    }
    if (open) return false;
    if (key === "j" || key === "k") {
      step(key === "j" ? 1 : -1);
      return true;
    }
    if (/^[1-9]$/.test(key)) return press(document.querySelector(`[data-action-key="${key}"]`));
    if (key === "c" && rows) {
      const at = chosen();
      return press(at && rows.querySelector(`tr[data-case="${at}"] .mod-claim`));
    }
    return press(all(`[data-key="${CSS.escape(key)}"]`)[0]);
  }

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.key.length !== 1) return;
    if (event.key !== " " && pressed(event.key)) event.preventDefault();
  });

  // -- pictures -------------------------------------------------------------------------------------------------------------
  for (const button of all(".mod-toggle")) {
    button.addEventListener("click", () => {
      const on = root.toggleAttribute(`data-${button.dataset.toggle}`);
      button.setAttribute("aria-pressed", String(on));
    });
  }
  const let_go = () => all(".mod-held").forEach((picture) => picture.classList.remove("mod-held"));
  document.addEventListener("pointerdown", (event) => event.target.closest?.(".mod-picture")?.classList.add("mod-held"));
  document.addEventListener("keydown", (event) => {
    const picture = event.target.closest?.(".mod-picture");
    if (!picture || event.key !== " ") return;
    event.preventDefault(); // neither a click nor a page further
    picture.classList.add("mod-held");
  });
  for (const name of ["pointerup", "pointercancel", "keyup", "blur", "visibilitychange"]) window.addEventListener(name, let_go);
  document.addEventListener("contextmenu", (event) => event.target.closest?.(".mod-picture") && event.preventDefault());

  // Nothing is decided twice: a form is sent once.
  document.addEventListener("submit", (event) => {
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "1";
  });
  window.addEventListener("pageshow", () => all("form[data-sent]").forEach((form) => delete form.dataset.sent));
})();
