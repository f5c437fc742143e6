/** Subscribes this browser and registers it with its device, at each start of a client and when the worker says "subscription". */

/**
 * @param {ServiceWorkerRegistration} worker
 * @param {{base: string, token: string, deviceId: string, app?: string}} session base: of the API; app: of Web Push, else the first
 * @returns {Promise<object>} what `PUT /devices/{deviceId}/push` answers
 */
export async function registerPush(worker, session) {
  const {items} = await call(session, "GET", "/push/apps");
  const app = items.find((one) => one.vapidKey && (!session.app || one.app === session.app));
  if (!app) throw new Error("there is no app of Web Push");
  const subscription = await subscribe(worker, app.vapidKey);
  return call(session, "PUT", `/devices/${session.deviceId}/push`, {app: app.app, subscription: subscription.toJSON()});
}

/** A subscription is good for one key alone: one for another key is given up. */
export async function subscribe(worker, vapidKey) {
  const key = bytes(vapidKey);
  const there = await worker.pushManager.getSubscription();
  if (there) {
    const its = new Uint8Array(there.options.applicationServerKey ?? []);
    if (its.length === key.length && its.every((byte, n) => byte === key[n])) return there;
    await there.unsubscribe();
  }
  return worker.pushManager.subscribe({userVisibleOnly: true, applicationServerKey: key});
}

function bytes(base64url) {
  return Uint8Array.from(atob(base64url.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
}

async function call(session, method, path, body) {
  const headers = {Authorization: `Bearer ${session.token}`, "Content-Type": "application/json"};
  const answer = await fetch(session.base + path, {method, headers, body: body && JSON.stringify(body)});
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status}`);
  return answer.json();
}
