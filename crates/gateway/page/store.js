// The chats, kept in this browser: heads for the list and whole chats apart, so that a long
// history opens at once. Without a database they live as long as the page.

const NAME = "freehold";
const VERSION = 1;

/** Opens the store; `isKept` says whether anything outlives the page. */
export async function openStore() {
  try {
    const database = await openDatabase();
    return new KeptStore(database);
  } catch {
    return new PassingStore();
  }
}

function openDatabase() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("heads", { keyPath: "id" });
      request.result.createObjectStore("chats", { keyPath: "id" });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("another tab holds an older form of the chats"));
  });
}

/** What the list shows of a chat. */
export function headOf({ id, title, created, updated }) {
  return { id, title, created, updated };
}

function byTime(heads) {
  return heads.sort((one, other) => other.updated - one.updated);
}

class KeptStore {
  isKept = true;
  #database;

  constructor(database) {
    this.#database = database;
    // A later form of the page may need another form of the database.
    database.onversionchange = () => database.close();
  }

  /** Runs `work` on both tables and resolves with its request's result once all is written. */
  #run(mode, work) {
    return new Promise((resolve, reject) => {
      const transaction = this.#database.transaction(["heads", "chats"], mode);
      const request = work(transaction.objectStore("heads"), transaction.objectStore("chats"));
      transaction.oncomplete = () => resolve(request?.result);
      const failed = () => reject(transaction.error ?? new Error("the browser did not keep it"));
      transaction.onerror = failed;
      transaction.onabort = failed;
    });
  }

  /** Heads of all chats, the newest first. */
  async heads() {
    return byTime(await this.#run("readonly", (heads) => heads.getAll()));
  }

  /** A whole chat, or undefined. */
  get(id) {
    return this.#run("readonly", (_, chats) => chats.get(id));
  }

  all() {
    return this.#run("readonly", (_, chats) => chats.getAll());
  }

  /** Writes chats; rejects with a QuotaExceededError where the browser has no room. */
  put(...list) {
    return this.#run("readwrite", (heads, chats) => {
      for (const chat of list) {
        heads.put(headOf(chat));
        chats.put(chat);
      }
    });
  }

  delete(id) {
    return this.#run("readwrite", (heads, chats) => {
      heads.delete(id);
      chats.delete(id);
    });
  }

  clear() {
    return this.#run("readwrite", (heads, chats) => {
      heads.clear();
      chats.clear();
    });
  }

  /** Ids of chats that contain `text`, whatever its case. */
  async search(text) {
    const wanted = text.toLowerCase();
    const found = new Set();
    await this.#run("readonly", (_, chats) => {
      const request = chats.openCursor();
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor) return;
        if (contains(cursor.value, wanted)) found.add(cursor.key);
        cursor.continue();
      };
    });
    return found;
  }
}

class PassingStore {
  isKept = false;
  #chats = new Map();

  async heads() {
    return byTime([...this.#chats.values()].map(headOf));
  }

  async get(id) {
    return structuredClone(this.#chats.get(id));
  }

  async all() {
    return [...this.#chats.values()];
  }

  async put(...list) {
    for (const chat of list) this.#chats.set(chat.id, structuredClone(chat));
  }

  async delete(id) {
    this.#chats.delete(id);
  }

  async clear() {
    this.#chats.clear();
  }

  async search(text) {
    const wanted = text.toLowerCase();
    return new Set([...this.#chats.values()].filter((chat) => contains(chat, wanted)).map(({ id }) => id));
  }
}

function contains(chat, wanted) {
  return chat.title.toLowerCase().includes(wanted)
    || chat.turns.some(({ content }) => content.toLowerCase().includes(wanted));
}
