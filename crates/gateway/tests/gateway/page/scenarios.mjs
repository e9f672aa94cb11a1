// What visitors do on the chat page, and what they must see. The scripted model says what the
// question asks for; `script.rs` and `scripted.rs` have its words.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

/** Waits until `check` holds in the page. */
function until(page, check, argument) {
  return page.waitForFunction(check, argument);
}

const stays = async (page, milliseconds) => page.waitForTimeout(milliseconds);

async function settings(page, fields) {
  await page.click("#open-settings");
  for (const [id, value] of Object.entries(fields)) {
    const field = page.locator(`#set-${id}`);
    await field.evaluate((element) => element.closest("details")?.setAttribute("open", ""));
    if (await field.evaluate((element) => element.tagName) === "SELECT") await field.selectOption(value);
    else await field.fill(value);
  }
  await page.keyboard.press("Escape");
}

const WEATHER = JSON.stringify([{ name: "weather", parameters: { type: "object", properties: { place: { type: "string" } } } }]);

export const scenarios = {
  async asks(come) {
    const visitor = await come();
    const { page } = visitor;
    await visitor.open();
    assert.equal(await page.title(), "Freehold");
    assert.equal(await page.evaluate(() => document.activeElement.id), "question");
    const answer = await visitor.answer("hello");
    assert.equal(await answer.locator("> .text").innerText(), "You said: hello ♥");
    assert.match(await answer.locator(".figures").innerText(), /^4 tokens · context 7 of 100$/);
    assert.equal(await page.locator("#announcer").textContent(), "Answer: You said: hello ♥");
    assert.equal(await visitor.text(".question .text"), "hello");
    assert.equal(await visitor.text("#chats a[aria-current=page]"), "hello");
    assert.equal(await page.title(), "hello · Freehold");
    // A second turn has the first before it, and the chat outlives the page.
    await visitor.answer("again");
    await page.reload();
    await page.waitForSelector(".answer");
    assert.deepEqual(await page.locator("article .text").allInnerTexts(), ["hello", "You said: hello ♥", "again", "You said: again ♥"]);
    await page.click("#new-chat");
    await page.waitForSelector("#welcome:not([hidden])");
    await page.goBack();
    await until(page, () => document.querySelectorAll("article").length === 4);
    // An idea fills the field and sends nothing.
    await page.click("#new-chat");
    await page.locator("#ideas button").first().click();
    assert.notEqual(await page.inputValue("#question"), "");
    assert.equal(await page.locator("article").count(), 0);
  },

  async thinks_and_calls(come) {
    const visitor = await come();
    const { page } = visitor;
    await visitor.open();
    await settings(page, { thinking: "on", tools: WEATHER });
    const thought = await visitor.answer("hello");
    assert.equal(await thought.locator("details").getAttribute("open"), null);
    assert.match(await thought.locator("summary").innerText(), /^Thought( for \d+ s)?$/);
    await thought.locator("summary").click();
    await until(page, () => document.querySelector("details .text").innerText === "Let me see.");
    const call = await visitor.answer("page: call");
    assert.equal(await call.locator(".call h3").innerText(), "Calls\nweather");
    assert.equal(await call.locator(".call pre").innerText(), '{\n  "place": "Paris"\n}');
    await call.locator("textarea").fill("18 °C");
    await call.locator("textarea").press("Enter");
    await until(page, () => document.querySelectorAll(".answer").length === 3);
    const last = await visitor.answer(null);
    assert.equal(await last.locator("> .text").innerText(), "The tool said: 18 °C");
    assert.equal(await last.locator("strong").innerText(), "18 °C");
    assert.equal(await page.locator(".call pre").last().innerText(), "18 °C");
    assert.equal(await page.locator(".call textarea").count(), 0);
    // Wrong settings are told at their place, and nothing is sent.
    await settings(page, { tools: "[{]" });
    const before = visitor.asked.length;
    await visitor.ask("hello");
    await page.waitForSelector("#settings[open]");
    assert.equal(await page.evaluate(() => document.activeElement.id), "set-tools");
    assert.match(await page.locator("#set-tools-wrong").innerText(), /not JSON/);
    assert.equal(await page.inputValue("#question"), "hello", "what was typed is not lost");
    assert.ok(!visitor.asked.slice(before).includes("POST /v1/chat/completions"));
    await page.keyboard.press("Escape");
    // Settings of the sampler reach the server, which refuses by name what it cannot do.
    await settings(page, { tools: "", system: "Be kind.", temperature: "0.7", format: "json", max_tokens: "5" });
    const sent = page.waitForRequest((request) => request.method() === "POST");
    await visitor.answer("hello");
    const body = (await sent).postDataJSON();
    assert.deepEqual([body.temperature, body.max_tokens, body.response_format], [0.7, 5, { type: "json_object" }]);
    assert.deepEqual(body.messages[0], { role: "system", content: "Be kind." });
    assert.equal(body.reasoning_effort, "medium");
    assert.equal(body.tools, undefined);
  },

  async stops(come) {
    const visitor = await come();
    const { page } = visitor;
    await visitor.open();
    for (const stop of [() => page.keyboard.press("Escape"), () => page.click("#send")]) {
      await visitor.ask("slow");
      await until(page, () => document.querySelector(".answer.running .text")?.innerText.includes("and so on"));
      assert.equal(await page.getAttribute("#send", "aria-label"), "Stop");
      // Enter neither stops nor sends while an answer is written, and what is typed stays.
      await page.fill("#question", "next");
      await page.press("#question", "Enter");
      assert.equal(await page.inputValue("#question"), "next");
      await page.fill("#question", "");
      await stop();
      const answer = await visitor.answer(null);
      assert.match(await answer.locator("> .text").innerText(), /^and so on/);
      assert.equal(await answer.locator(".note").innerText(), "Stopped.");
      assert.equal(await page.getAttribute("#send", "aria-label"), "Send");
    }
    // Another chat may be looked at meanwhile; the answer goes on, and is there when one is back.
    await page.click("#new-chat");
    await visitor.ask("page: slowly");
    await page.waitForSelector(".answer.running .text p");
    await page.click("#new-chat");
    await visitor.answer("hello");
    await page.locator("#chats a", { hasText: "page: slowly" }).click();
    await until(page, () => document.querySelectorAll(".answer.running .text p").length > 20);
    const n_before = await page.locator(".answer .text p").count();
    await until(page, (n) => document.querySelectorAll(".answer .text p").length > n, n_before);
    await page.keyboard.press("Escape");
    await visitor.answer(null);
    // A page that is closed midway keeps what there was, and says that it is not all.
    await page.click("#new-chat");
    await visitor.ask("page: slowly");
    await until(page, () => document.querySelectorAll(".answer.running .text p").length > 5);
    await page.reload();
    await page.waitForSelector(".answer .note");
    assert.equal(await visitor.text(".answer .note"), "The answer is not complete.");
    // A chat that is deleted while it is answered stays deleted.
    const n_chats = await page.locator("#chats a").count();
    await page.click("#new-chat");
    await visitor.ask("page: slowly");
    await until(page, (n) => document.querySelectorAll("#chats a").length === n, n_chats + 1);
    await page.locator("#chats li.current").hover();
    await page.locator("#chats li.current [aria-label^=Delete]").click();
    await until(page, (n) => document.querySelectorAll("#chats a").length === n, n_chats);
    await visitor.answer("hello");
    assert.equal(await page.locator("#chats a").count(), n_chats + 1);
  },

  async errs(come) {
    const visitor = await come();
    const { page } = visitor;
    await visitor.open();
    const trouble = async (question) => {
      const answer = await visitor.answer(question);
      return answer.locator(".trouble").innerText();
    };
    assert.match(await trouble("long"), /longer than the model can read[^]*100[^]*250/);
    const busy = await trouble("busy");
    assert.match(busy, /busy[^]*try again in 1 s/);
    assert.match(await trouble("panic"), /wrong in the server/);
    assert.match(await trouble("fail"), /not finite/);
    assert.equal(await visitor.text(".answer .text"), "half", "what came before the error stays");
    assert.match(await trouble("break"), /broke off/);
    // What failed is left out, so the next answer is an answer.
    const answer = await visitor.answer("hello");
    assert.equal(await answer.locator("> .text").innerText(), "You said: hello ♥");
    assert.equal(await page.locator(".note").first().innerText(), "Without an answer; later questions are sent without this one.");
    // Trying again asks the same question.
    await visitor.answer("busy");
    const n_asked = visitor.asked.filter((asked) => asked.startsWith("POST")).length;
    await page.locator(".trouble button").last().click();
    await until(page, () => document.querySelector("article:last-child .trouble"));
    assert.equal(visitor.asked.filter((asked) => asked.startsWith("POST")).length, n_asked + 1);
    // Without the server the page says so, and comes back with it.
    await page.route("**/v1/**", (route) => route.abort());
    assert.match(await trouble("hello"), /cannot be reached/);
    await page.unroute("**/v1/**");
    await page.locator(".trouble button").last().click();
    await until(page, () => document.querySelector("article:last-child > .text")?.innerText === "You said: hello ♥");
    // The connection ends midway.
    await page.route("**/v1/chat/completions", (route) => route.fulfill({
      contentType: "text/event-stream", body: 'data: {"choices":[{"delta":{"content":"cut"}}]}\n\n',
    }));
    assert.match(await trouble("hello"), /broke off/);
    // What is no stream of this kind is an error too.
    await page.unroute("**/v1/chat/completions");
    await page.route("**/v1/chat/completions", (route) => route.fulfill({ contentType: "text/event-stream", body: "data: <html>\n\n" }));
    assert.match(await trouble("hello"), /does not understand/);
  },

  async has_a_key(come) {
    const visitor = await come();
    const { page } = visitor;
    const guard = async (route) => {
      const said = await route.request().headerValue("authorization");
      if (said === "Bearer sk-right") return route.continue();
      return route.fulfill({
        status: 401, contentType: "application/json",
        body: JSON.stringify({ error: { message: "no valid API key was given", type: "authentication_error", code: "invalid_api_key" } }),
      });
    };
    await visitor.context.route("**/v1/**", guard);
    await page.goto(new URL("/", process.env.PAGE_URL).href);
    await page.waitForSelector("#ask[open]");
    await visitor.isAccessible("the question for a key");
    await page.fill("#ask input[name=key]", "sk-wrong");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#ask .wrong");
    await page.fill("#ask input[name=key]", "sk-right");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#model:not([disabled])");
    const answer = await visitor.answer("hello");
    assert.equal(await answer.locator("> .text").innerText(), "You said: hello ♥");
    const kept = () => page.evaluate(() => [sessionStorage, localStorage].map((place) => JSON.stringify({ ...place }).includes("sk-right")));
    assert.deepEqual(await kept(), [true, false], "for this tab alone");
    // It is revoked, so the same question is asked again with another one, which is remembered.
    await page.evaluate(() => sessionStorage.setItem("freehold.key", "sk-old"));
    await visitor.ask("again");
    await page.waitForSelector("#ask[open]");
    await page.fill("#ask input[name=key]", "sk-right");
    await page.check("#ask input[name=keep]");
    await page.keyboard.press("Enter");
    await until(page, () => document.querySelector("article:last-child > .text")?.innerText === "You said: again ♥");
    assert.deepEqual(await kept(), [false, true]);
    assert.equal(await page.locator("article").count(), 4);
    await page.click("#open-settings");
    await page.click("text=Forget the key");
    assert.deepEqual(await kept(), [false, false]);
    // Without one the page says why nothing goes.
    await page.reload();
    await page.waitForSelector("#ask[open]");
    await page.keyboard.press("Escape");
    await until(page, () => document.querySelector("#notice").innerText.includes("Without a key"));
  },

  async reads_hostile_text(come) {
    const visitor = await come();
    const { page } = visitor;
    await visitor.open();
    await settings(page, { thinking: "on", tools: JSON.stringify([{ name: "<img src=x onerror=window.hacked=20>", parameters: {} }]) });
    const answer = await visitor.answer("page: hostile");
    await page.click(".answer .actions button >> nth=0");
    const look = () => page.evaluate(() => {
      const turns = document.querySelector("#turns");
      const links = [...turns.querySelectorAll("a")];
      return {
        hacked: window.hacked ?? null,
        foreign: turns.querySelectorAll("script, img, iframe, style, link, base, form:not(:has(.call)), meta, object, embed, input:not([disabled]), svg:not(.icon)").length,
        schemes: [...new Set(links.map(({ protocol }) => protocol))].sort(),
        guarded: links.every(({ rel, target }) => rel.includes("noopener") && target === "_blank"),
        listeners: [...document.querySelectorAll("*")].flatMap((element) => [...element.attributes]).filter(({ name }) => /^on|^style$/.test(name) === true && name !== "style").length,
        depth: (() => {
          let deepest = 0;
          for (const element of turns.querySelectorAll("*")) {
            let depth = 0;
            for (let at = element; at; at = at.parentElement) depth += 1;
            deepest = Math.max(deepest, depth);
          }
          return deepest;
        })(),
        isWhole: turns.innerText.includes("window.hacked = 1</script>") && turns.innerText.includes("this fence is not closed"),
      };
    });
    const { depth, ...seen } = await look();
    assert.deepEqual(seen, { hacked: null, foreign: 0, schemes: ["http:", "https:", "mailto:"], guarded: true, listeners: 0, isWhole: true });
    assert.ok(depth < 80, `${depth} deep`);
    assert.equal(await answer.locator(".code").count(), 1);
    // The same as a question, as a name, as arguments, as a title, and read back from the browser.
    await visitor.answer("<img src=x onerror=window.hacked=21><script>window.hacked=22</script>");
    await visitor.answer("page: call");
    await page.locator(".call textarea").fill("<img src=x onerror=window.hacked=23>");
    await page.click("text=Send result");
    await until(page, () => document.querySelectorAll(".answer").length === 4);
    await visitor.answer(null);
    await page.reload();
    await page.waitForSelector(".answer");
    const again = await look();
    assert.deepEqual([again.hacked, again.foreign, again.isWhole], [null, 0, true]);
    // Even a script in the page could not make markup of text: the policy holds the browser to it.
    const refused = await page.evaluate(() => {
      try {
        document.createElement("div").innerHTML = "<b>x</b>";
        return false;
      } catch (error) {
        return error instanceof TypeError;
      }
    });
    assert.ok(refused);
    visitor.faults = visitor.faults.filter((fault) => !fault.includes("TrustedHTML"));
  },

  async reads_long_text(come) {
    const visitor = await come();
    const { page } = visitor;
    await visitor.open();
    for (const [kind, selector] of [["paragraphs", ".code"], ["fence", ".code"], ["line", "strong"], ["rows", "tr"]]) {
      await page.click("#new-chat");
      const begun = Date.now();
      await visitor.ask(`page: ${kind}`);
      let worst = 0;
      for (;;) {
        const asked = Date.now();
        const isOver = await page.evaluate(() => document.querySelector("article.answer:not(.running) .actions") !== null);
        worst = Math.max(worst, Date.now() - asked);
        if (isOver) break;
        await stays(page, 20);
      }
      const took = Date.now() - begun;
      const n_found = await page.locator(`.answer ${selector}`).count();
      const length = await page.evaluate(() => document.querySelector(".answer > .text").textContent.length);
      console.log(`${kind}: ${took} ms, silent for ${worst} ms at most, ${length} characters, ${n_found} ${selector}`);
      assert.ok(length >= 40_000 && n_found >= 1);
      // Drawing all of it for every piece would take many minutes.
      assert.ok(took < 60_000, `${took} ms`);
    }
  },

  async types_and_tabs(come) {
    const visitor = await come();
    const { page } = visitor;
    await visitor.open();
    await page.keyboard.type("one");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("two");
    assert.equal(await page.inputValue("#question"), "one\ntwo");
    // The Enter that ends a composition is not the user's.
    await page.evaluate(() => {
      const key = { key: "Enter", bubbles: true, cancelable: true };
      const question = document.querySelector("#question");
      question.dispatchEvent(new KeyboardEvent("keydown", { ...key, isComposing: true }));
      question.dispatchEvent(new KeyboardEvent("keydown", { ...key, keyCode: 229 }));
    });
    assert.equal(await page.locator("article").count(), 0);
    await page.keyboard.press("Enter");
    await visitor.answer(null);
    assert.equal(await visitor.text(".question .text"), "one\ntwo");
    const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute("aria-label") || document.activeElement.textContent);
    for (const key of ["Control+k", "/"]) {
      await page.locator("#theme").focus();
      await page.keyboard.press(key);
      assert.equal(await focused(), "question");
    }
    assert.equal(await page.inputValue("#question"), "", "the slash was a command");
    await page.keyboard.type("a/b");
    assert.equal(await page.inputValue("#question"), "a/b");
    // Everything is reached by Tab, the first of all the way to the question.
    await page.evaluate(() => document.activeElement.blur());
    await page.reload();
    await page.waitForSelector(".answer");
    await page.evaluate(() => {
      document.activeElement.blur();
      getSelection().removeAllRanges();
    });
    const reached = [];
    for (let i = 0; i < 30; i += 1) {
      await page.keyboard.press("Tab");
      reached.push(await focused());
      const isVisible = await page.evaluate(() => {
        const element = document.activeElement;
        const { outlineStyle } = getComputedStyle(element);
        return element === document.body || element.id === "question" || outlineStyle !== "none";
      });
      assert.ok(isVisible, `no focus is seen on ${reached.at(-1)}`);
    }
    for (const wanted of ["Skip to the question", "new-chat", "search", "export", "model", "theme", "open-settings", "scroller",
      "Edit and send again", "Copy answer", "Answer again", "question", "send"]) {
      assert.ok(reached.includes(wanted), `${wanted} is not reached: ${reached.join(", ")}`);
    }
    // Right to left text stands on its side.
    const answer = await visitor.answer("مرحبا بالعالم");
    assert.equal(await page.locator(".question .text").last().evaluate((element) => getComputedStyle(element).direction), "rtl");
    assert.equal(await answer.locator("p").evaluate((element) => element.getAttribute("dir")), "auto");
  },

  async keeps_chats(come) {
    const visitor = await come();
    const { page } = visitor;
    await visitor.open();
    await visitor.answer("first question");
    await visitor.answer("second question");
    // Editing the first takes away what followed, and that can be undone.
    await page.locator(".question").first().hover();
    await page.locator("[aria-label='Edit and send again']").first().click();
    await page.fill(".question textarea", "edited question");
    await page.keyboard.press("Enter");
    await until(page, () => document.querySelectorAll("article").length === 2 && document.querySelector("article:last-child:not(.running) .actions"));
    assert.equal(await visitor.text(".answer .text"), "You said: edited question ♥");
    await page.click(".toast button");
    assert.deepEqual(await page.locator(".question .text").allInnerTexts(), ["first question", "second question"]);
    await page.locator("[aria-label='Answer again']").last().click();
    await visitor.answer(null);
    assert.equal(await page.locator("article").count(), 4);
    // Renaming, searching, deleting.
    await page.click("#new-chat");
    await visitor.answer("about whales");
    const row = page.locator("#chats li", { hasText: "about whales" });
    await row.hover();
    await row.locator("[aria-label^=Rename]").click();
    await page.fill("#ask input", "Of the sea");
    await page.keyboard.press("Enter");
    await until(page, () => document.querySelector("#chats .current a")?.textContent === "Of the sea");
    await page.fill("#search", "WHALES");
    await until(page, () => document.querySelectorAll("#chats a").length === 1);
    assert.equal(await visitor.text("#chats a"), "Of the sea");
    await page.fill("#search", "");
    await until(page, () => document.querySelectorAll("#chats a").length === 2);
    await page.locator("#chats li.current").hover();
    await page.locator("#chats li.current [aria-label^=Delete]").click();
    await until(page, () => document.querySelectorAll("#chats a").length === 1);
    await page.click(".toast button");
    await until(page, () => document.querySelectorAll("#chats a").length === 2);
    // To a file and back; what is there already is not overwritten.
    const coming = page.waitForEvent("download");
    await page.click("#export");
    const path = await (await coming).path();
    const file = JSON.parse(await readFile(path, "utf8"));
    assert.deepEqual([file.format, file.chats.length], ["freehold-chats", 2]);
    await page.click("#delete-all");
    await page.click("#ask button[type=submit]");
    await until(page, () => document.querySelectorAll("#chats a").length === 0);
    for (const n_expected of [2, 4]) {
      await page.setInputFiles("#import-file", path);
      await until(page, (n) => document.querySelectorAll("#chats a").length === n, n_expected);
    }
    await page.setInputFiles("#import-file", { name: "x.json", mimeType: "application/json", buffer: Buffer.from("{") });
    await until(page, () => document.querySelector(".toast")?.textContent.includes("not JSON"));
    // Another tab knows of it.
    const first = page;
    const second = await visitor.newPage();
    await visitor.open();
    await until(second, () => document.querySelectorAll("#chats a").length === 4);
    await visitor.answer("from another tab");
    await until(first, () => document.querySelectorAll("#chats a").length === 5);
    // Without a database the page works and says that nothing is kept.
    const other = await come();
    await other.context.addInitScript(() => Object.defineProperty(globalThis, "indexedDB", { value: undefined }));
    await other.open();
    assert.match(await other.text("#welcome-text"), /keeps no chats/);
    const answer = await other.answer("hello");
    assert.equal(await answer.locator("> .text").innerText(), "You said: hello ♥");
  },

  async is_full(come) {
    const visitor = await come();
    const { page } = visitor;
    await visitor.context.addInitScript(() => {
      IDBObjectStore.prototype.put = () => {
        throw new DOMException("no room", "QuotaExceededError");
      };
    });
    await visitor.open();
    const answer = await visitor.answer("hello");
    assert.equal(await answer.locator("> .text").innerText(), "You said: hello ♥");
    await until(page, () => document.querySelector(".toast")?.textContent.includes("no more room"));
  },

  async scrolls(come) {
    const visitor = await come();
    const { page } = visitor;
    await visitor.open();
    await visitor.ask("page: slowly");
    const place = () => page.evaluate(() => {
      const { scrollTop, scrollHeight, clientHeight } = document.querySelector("#scroller");
      return { top: scrollTop, below: scrollHeight - clientHeight - scrollTop };
    });
    await until(page, () => document.querySelector("#scroller").scrollTop > 200);
    assert.ok((await place()).below < 60, "it follows at the end");
    await page.hover("#turns");
    await page.mouse.wheel(0, -300);
    await until(page, () => !document.querySelector("#to-end").hidden);
    // The wheel moves the page over many frames.
    await until(page, () => {
      const { scrollTop } = document.querySelector("#scroller");
      const { top, frames } = globalThis.seen ?? {};
      globalThis.seen = { top: scrollTop, frames: scrollTop === top ? frames + 1 : 0 };
      return globalThis.seen.frames > 20;
    });
    const before = await place();
    await until(page, (below) => {
      const { scrollTop, scrollHeight, clientHeight } = document.querySelector("#scroller");
      return scrollHeight - clientHeight - scrollTop > below + 200;
    }, before.below);
    assert.equal((await place()).top, before.top, "who reads above is left alone");
    await page.click("#to-end");
    await until(page, () => document.querySelector("#to-end").hidden);
    await stays(page, 200);
    assert.ok((await place()).below < 60, "it follows again");
    await page.keyboard.press("Escape");
    await visitor.answer(null);
  },

  async looks_right(come) {
    // What is drawn first has the theme that was chosen, and nothing moves after it.
    const visitor = await come({ colorScheme: "light" });
    const { page } = visitor;
    await visitor.context.addInitScript(() => {
      globalThis.shift = 0;
      new PerformanceObserver((list) => {
        for (const { value, hadRecentInput } of list.getEntries()) if (!hadRecentInput) globalThis.shift += value;
      }).observe({ type: "layout-shift", buffered: true });
      document.addEventListener("DOMContentLoaded", () => {
        globalThis.first = getComputedStyle(document.body).backgroundColor;
      });
    });
    const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await visitor.open();
    const light = await colour();
    await page.click("#theme");
    await page.click("#theme");
    const dark = await colour();
    assert.notEqual(dark, light);
    await page.reload();
    await page.waitForSelector("#model:not([disabled])");
    assert.equal(await page.evaluate(() => globalThis.first), dark);
    await visitor.answer("page: long");
    await page.reload();
    await page.waitForSelector(".answer .figures");
    await stays(page, 300);
    const shift = await page.evaluate(() => globalThis.shift);
    assert.ok(shift < 0.02, `things moved by ${shift}`);
    // On a small phone nothing is cut off at the side, and all targets can be hit.
    const phone = await come({ viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true });
    await phone.open();
    const fits = () => phone.page.evaluate(() => document.documentElement.scrollWidth <= 360 && document.querySelector("#scroller").scrollWidth <= 360);
    assert.ok(await fits(), "the welcome");
    await phone.answer("page: long");
    assert.ok(await fits(), "a long answer");
    await phone.page.click("#open-sidebar");
    await phone.page.waitForSelector("#chats a");
    await phone.page.click("#close-sidebar");
    await phone.page.click("#open-settings");
    assert.ok(await phone.page.evaluate(() => document.querySelector("#settings").scrollWidth <= 360), "the settings");
    const still = await come({ reducedMotion: "reduce" });
    await still.open();
    await still.ask("slow");
    await still.page.waitForSelector("#send[aria-label=Stop]");
    const n_moving = await still.page.evaluate(() => document.getAnimations().length);
    assert.equal(n_moving, 0);
    await still.page.keyboard.press("Escape");
  },

  async is_for_everybody(come) {
    for (const options of [{ colorScheme: "light" }, { colorScheme: "dark" }, { colorScheme: "light", viewport: { width: 360, height: 740 } }]) {
      const visitor = await come(options);
      const { page } = visitor;
      const state = (name) => `${name}, ${JSON.stringify(options)}`;
      await visitor.open();
      await visitor.isAccessible(state("welcome"));
      await visitor.answer("page: long");
      await page.locator(".answer").hover();
      await visitor.isAccessible(state("a long answer"));
      await settings(page, { tools: WEATHER, thinking: "on" });
      await visitor.answer("page: call");
      await page.locator("summary", { hasText: "Thought" }).last().click();
      await visitor.isAccessible(state("a call"));
      await visitor.answer("long");
      await visitor.isAccessible(state("an error"));
      await page.click("#open-settings");
      await page.fill("#set-temperature", "hot");
      await page.keyboard.press("Tab");
      await visitor.isAccessible(state("settings"));
      await page.keyboard.press("Escape");
      await page.locator("[aria-label='Edit and send again']").first().click();
      await visitor.isAccessible(state("editing"));
      await page.keyboard.press("Escape");
      if (options.viewport) {
        await page.click("#open-sidebar");
        await stays(page, 300);
        await visitor.isAccessible(state("the list"));
      } else {
        await page.click("#delete-all");
        await visitor.isAccessible(state("a question"));
        await page.keyboard.press("Escape");
      }
    }
  },

  /** Against a real model: `PAGE_SAYS` is what the answer must have in it. */
  async meets_a_model(come) {
    const visitor = await come();
    const { page } = visitor;
    await visitor.open();
    await settings(page, { temperature: "0", max_tokens: "24" });
    const answer = await visitor.answer("What is the capital of France?");
    const text = await answer.locator("> .text").innerText();
    assert.ok(text.includes(process.env.PAGE_SAYS), text);
    const figures = await answer.locator(".figures").innerText();
    assert.match(figures, /^\d+ tokens · [\d.,]+ tokens\/s · context \d+ of [\d,.]+$/);
    console.log(`${JSON.stringify(text)}: ${figures}`);
  },
};
