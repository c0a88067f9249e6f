// Keeps the page's own files, so that it opens without a connection. The newest are taken where there is one.

const STORE = "rtseg-page";
const ANEW = { cache: "no-cache" }; // where a server says nothing of age, a browser takes its own copy for days

self.addEventListener("install", (event) => event.waitUntil(keepAll().then(() => self.skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

async function keepAll() {
  const store = await caches.open(STORE);
  const { files } = await (await fetch("network.json", ANEW)).json();
  await store.addAll(["./", "network.json", ...files].map((file) => new Request(file, ANEW)));
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && new URL(request.url).origin === location.origin) event.respondWith(newest(request));
});

async function newest(request) {
  const store = await caches.open(STORE);
  const kept = await store.match(request, { ignoreSearch: true });
  try {
    const answer = await fetch(request, ANEW);
    if (kept && answer.ok) await store.put(new URL(request.url).pathname, answer.clone());
    return answer;
  } catch (error) {
    if (kept) return kept;
    throw error;
  }
}
