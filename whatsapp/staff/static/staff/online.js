// The live page "sessions online". Everything from the socket goes into the page as text, never as markup.
"use strict";
(() => {
  const config = JSON.parse(document.getElementById("online-config").textContent);
  const element = (id) => document.getElementById(id);
  const rows = element("online-rows");
  let asked = { page: 1, user: config.user, gateway: "" };
  let socket = null;
  let delay = 1000;
  let shown = []; // [element, since] of each row, so that "since" goes on between two messages
  let skew = 0; // server's clock minus this one, ms

  function state(name, text) {
    element("online-live").dataset.state = name;
    element("online-state").textContent = text;
  }

  function make(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function span(ms) {
    const s = Math.max(0, Math.floor(ms / 1000));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
    if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
    return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  }

  function id(value, address, placeholder) {
    const made = make(address ? "a" : "span", value, address ? "staff-link staff-mono" : "staff-mono");
    if (address) made.href = address.replace(placeholder, value);
    return made;
  }

  function row(session) {
    const made = make("tr");
    const add = (content, className) => {
      const cell = make("td", typeof content === "string" ? content : undefined, className);
      if (typeof content !== "string") cell.append(content);
      made.append(cell);
      return cell;
    };
    add(id(session.user, config.account, "USER"));
    add(id(session.device, config.device, "DEVICE"));
    add(session.gateway);
    add(session.state);
    add(session.codec);
    add(session.version);
    const since = add("", "staff-nowrap");
    since.title = `${new Date(session.since).toISOString().slice(0, 19).replace("T", " ")} UTC`;
    shown.push([since, session.since]);
    if (config.mayEnd) {
      const end = make("a", "End session…", "staff-end");
      end.href = `${config.end}?device=${encodeURIComponent(session.device)}`;
      add(end);
    } else {
      add("");
    }
    return made;
  }

  function tick() {
    const now = Date.now() + skew;
    for (const [cell, since] of shown) cell.textContent = span(now - since);
  }

  function show(message) {
    skew = message.now - Date.now();
    shown = [];
    const made = message.rows.map(row);
    if (!made.length) {
      const cell = make("td", message.total ? "Nothing on this page." : "Nobody is online here.", "text-subtle");
      cell.colSpan = 8;
      const only = make("tr");
      only.append(cell);
      made.push(only);
    }
    rows.replaceChildren(...made);
    tick();
    element("online-total").textContent =
      `${message.total.toLocaleString("en")} session${message.total === 1 ? "" : "s"}` +
      (message.total > message.pages * 50 ? `; the newest ${message.pages * 50} are listed, search for others` : "");
    element("online-page").textContent = `${message.page} / ${message.pages}`;
    element("online-previous").disabled = message.page <= 1;
    element("online-next").disabled = message.page >= message.pages;
    const chips = [chip("", "All gateways")];
    const known = new Map(message.gateways.map((gateway) => [gateway.name, gateway.sessions]));
    if (!asked.gateway) names = [...known.keys()];
    for (const name of names) {
      const number = known.get(name);
      const silent = known.has(name) && number === null;
      chips.push(chip(name, silent ? `${name}: no answer` : number === undefined ? name : `${name}: ${number}`));
    }
    element("online-gateways").replaceChildren(...chips);
  }

  let names = [];
  function chip(name, text) {
    const made = make("button", text, "staff-chip");
    made.type = "button";
    made.setAttribute("aria-pressed", String(asked.gateway === name));
    made.addEventListener("click", () => ask({ gateway: name, page: 1 }));
    return made;
  }

  function ask(changes) {
    asked = { ...asked, ...changes };
    if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(asked));
  }

  function open() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(`${scheme}//${location.host}/admin/online/ws`);
    socket.addEventListener("open", () => {
      delay = 1000;
      state("live", "live");
      ask({});
    });
    socket.addEventListener("message", (event) => {
      const message = JSON.parse(event.data);
      if (message.type === "sessions") {
        state("live", "live");
        show(message);
      } else if (message.type === "problem") {
        state("lost", message.text);
      }
    });
    socket.addEventListener("close", (event) => {
      if (event.code === 4403) {
        state("lost", "signed out");
        location.reload();
        return;
      }
      if (document.hidden) {
        state("lost", "paused");
        return; // nobody looks: opened again when somebody does
      }
      state("lost", event.reason || "connection lost, trying again…");
      setTimeout(open, delay * (0.5 + Math.random()));
      delay = Math.min(delay * 2, 30000);
    });
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden && socket) socket.close(1000);
    else if (!document.hidden && (!socket || socket.readyState >= WebSocket.CLOSING)) open();
  });
  element("online-previous").addEventListener("click", () => ask({ page: asked.page - 1 }));
  element("online-next").addEventListener("click", () => ask({ page: asked.page + 1 }));
  setInterval(tick, 1000);
  open();
})();
