// Large files, each with the hash that it must have; kept by the browser, so that the page works without a network.

const STORE = "rtseg-files";
const WHOLE = "Whoever made this page can make it whole, so that it needs no other server: rtseg page --runtime (docs/page.md).";

// "sha384-..." is part of the address that it is kept under: another file of the same name is fetched anew.
// -> ArrayBuffer. Throws an Error with a sentence.
export async function fetchChecked(url, integrity) {
  const store = await openStore();
  const kept = await store?.match(key(url, integrity));
  if (kept) return kept.arrayBuffer();
  let answer;
  try {
    // Asked anew: what the browser has of this address may be the file of an older page.
    answer = await fetch(url, { integrity, cache: "no-cache", credentials: "omit", referrerPolicy: "no-referrer" });
  } catch {
    const repair = new URL(url).origin === globalThis.origin ? "" : `. ${WHOLE}`;
    throw new Error(`${url} cannot be loaded: there is no connection, or the file is not the one that it must be${repair}`);
  }
  if (!answer.ok) throw new Error(`${url} cannot be loaded: the server says ${answer.status}`);
  const copy = answer.clone();
  const bytes = await answer.arrayBuffer();
  try {
    await store?.put(key(url, integrity), copy);
    await forgetOthers(store, url, integrity);
  } catch {
    // no room: the page then needs the network the next time
  }
  return bytes;
}

// files: [{ url, integrity }]. Whether all of them are kept.
export async function allKept(files) {
  const store = await openStore();
  const found = await Promise.all(files.map(({ url, integrity }) => store?.match(key(url, integrity))));
  return found.every(Boolean);
}

// What was kept under the same name before.
async function forgetOthers(store, url, integrity) {
  for (const { url: kept } of (await store?.keys()) ?? []) {
    if (kept.startsWith(`${url}?`) && kept !== key(url, integrity)) await store.delete(kept);
  }
}

function key(url, integrity) {
  return `${url}?${encodeURIComponent(integrity)}`;
}

async function openStore() {
  try {
    return await globalThis.caches?.open(STORE);
  } catch {
    return undefined; // a private window, or an address without https
  }
}
