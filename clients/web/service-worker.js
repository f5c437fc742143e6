/* A service worker for web clients: shows what is pushed (docs/push.md, "Web Push"), once and in order, and takes it back when it
 * was read elsewhere. The browser has decrypted it (RFC 8291) before it gets here.
 *
 * A client loads it from its own worker and may say what a notification reads:
 *
 *   self.describe = async (said) => ({title: "Ada", body: "hello"});   // said: see below; from decrypted content
 *   importScripts("service-worker.js");
 *
 * said: {type: "call" | "message" | "silent", id, collapse, badge?, content?}; content: {type: "message", conversationId, messageId,
 * seq, senderId, count, frame?} or {type: "clear", clear: [collapse, …]}. Windows of the client get {type: "badge", badge} and, when
 * a notification is chosen, {type: "open", conversationId}.
 */
"use strict";

const NEW = {title: "New message", body: ""};
const CALL = {title: "Incoming call", body: ""};

let last = Promise.resolve(); // events are handled one after the other: what takes back is behind what it takes back

function inTurn(work) {
  const done = last.then(work);
  last = done.catch(() => {});
  return done;
}

self.addEventListener("push", (event) => {
  event.waitUntil(inTurn(() => handle(read(event.data))));
});

function read(data) {
  const nothing = {type: "message", id: "", collapse: "new"};
  if (!data) return nothing; // a subscription without keys
  try {
    return {...nothing, ...data.json()};
  } catch {
    return nothing;
  }
}

async function handle(said) {
  const shows = said.type === "silent" ? takeBack(said) : show(said);
  await Promise.all([shows, setBadge(said.badge)]);
}

async function show(said) {
  if (said.id && (await shownBefore(said))) return;
  const call = said.type === "call";
  let text = call ? CALL : NEW;
  try {
    text = (await self.describe?.(said)) ?? text;
  } catch {
    // Something is new, whatever it says.
  }
  await self.registration.showNotification(text.title, {
    body: text.body ?? "",
    tag: said.collapse, // a newer one takes the place of an earlier one
    renotify: true,
    requireInteraction: call,
    data: {id: said.id, conversationId: said.content?.conversationId ?? null},
  });
}

/** Whether this very notification was shown: a push that is sent again has the same id. */
async function shownBefore(said) {
  const kept = await caches.open("push");
  const key = `/push/${encodeURIComponent(said.collapse)}`;
  if ((await (await kept.match(key))?.text()) === said.id) return true;
  await kept.put(key, new Response(said.id));
  return false;
}

async function takeBack(said) {
  for (const tag of said.content?.clear ?? []) {
    for (const shown of await self.registration.getNotifications({tag})) shown.close();
  }
}

async function setBadge(badge) {
  if (badge === undefined) return; // it stays as it is
  await navigator.setAppBadge?.(badge).catch(() => {}); // 0 takes it away; Firefox has none
  await tell({type: "badge", badge});
}

async function tell(message) {
  for (const window of await windows()) window.postMessage(message);
}

const windows = () => self.clients.matchAll({type: "window", includeUncontrolled: true});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data?.conversationId ?? null));
});

async function open(conversationId) {
  const [window] = await windows();
  const opened = window ? await window.focus() : await self.clients.openWindow(self.registration.scope);
  opened?.postMessage({type: "open", conversationId});
}

/* The browser made the subscription anew: the client registers it when it is next open, as it does at each start. */
self.addEventListener("pushsubscriptionchange", (event) => {
  event.waitUntil(tell({type: "subscription"}));
});
