// Drives a browser through the chat page, as a visitor would: `node drive.mjs SCENARIO`.
//
// The environment says where: PAGE_URL, PAGE_MODULES (a folder with playwright-core and axe-core),
// PAGE_CHROMIUM, and PAGE_OUT (a folder for a picture of what failed). Nothing but the server may
// be asked for anything, and the page may report no error of its own.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

import { scenarios } from "./scenarios.mjs";

const { PAGE_URL, PAGE_MODULES, PAGE_CHROMIUM, PAGE_OUT } = process.env;
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"];

const modules = createRequire(join(PAGE_MODULES, "package.json"));
const axe = readFileSync(modules.resolve("axe-core/axe.min.js"), "utf8");
const { chromium } = modules("playwright-core");

/** A visitor with a fresh browser profile, and what happened to the page. */
class Visitor {
  faults = [];
  /** Requests that the page made, as `METHOD path`. */
  asked = [];

  static async come(browser, options = {}) {
    const visitor = new Visitor();
    visitor.context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options });
    visitor.context.setDefaultTimeout(20_000);
    await visitor.newPage();
    return visitor;
  }

  async newPage() {
    this.page = await this.context.newPage();
    const { page } = this;
    page.on("pageerror", (error) => this.faults.push(`error: ${error.stack}`));
    page.on("dialog", (dialog) => {
      this.faults.push(`a dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on("console", (message) => {
      // The browser itself tells of every refused request.
      const isRefusal = message.text().startsWith("Failed to load resource");
      if (message.type() === "error" && !isRefusal) this.faults.push(`console: ${message.text()}`);
    });
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (url.origin === new URL(PAGE_URL).origin) this.asked.push(`${request.method()} ${url.pathname}`);
      else if (url.protocol !== "blob:") this.faults.push(`asked ${request.url()}`);
    });
    return page;
  }

  async open(path = "/") {
    await this.page.goto(PAGE_URL + path);
    await this.page.waitForSelector("#model:not([disabled])");
  }

  /** Types a question and sends it by Enter. */
  async ask(text) {
    await this.page.fill("#question", text);
    await this.page.press("#question", "Enter");
  }

  /** Asks and waits for the end of the answer, and gives its article. */
  async answer(text) {
    if (text !== null) await this.ask(text);
    await this.page.waitForSelector("article.answer:last-child:not(.running) .actions");
    return this.page.locator("article.answer").last();
  }

  text(selector) {
    return this.page.locator(selector).last().innerText();
  }

  /** No violation of the accessibility rules that is serious or critical. */
  async isAccessible(state) {
    // What fades in or out is looked at when it has.
    await this.page.waitForTimeout(250);
    // The page's policy keeps strings from becoming scripts; the checker comes by the debugger.
    await this.page.evaluate(axe);
    const { violations } = await this.page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
    const grave = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    const said = grave.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`).join("\n")}`);
    assert.equal(said.length, 0, `${state}: ${said.join("\n")}`);
  }
}

const name = process.argv[2];
const browser = await chromium.launch({ executablePath: PAGE_CHROMIUM, args: FLAGS });
const visitors = [];
try {
  await scenarios[name](async (options) => {
    const visitor = await Visitor.come(browser, options);
    visitors.push(visitor);
    return visitor;
  });
  for (const { faults } of visitors) assert.deepEqual(faults, []);
} catch (error) {
  console.error(error);
  for (const [index, { page, faults }] of visitors.entries()) {
    console.error(faults.join("\n"));
    await page.screenshot({ path: join(PAGE_OUT, `${name}-${index}.png`) }).catch(() => {});
  }
  process.exitCode = 1;
} finally {
  await browser.close();
}
