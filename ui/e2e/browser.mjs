// Headless Chromium with ears: every console error, failed request and foreign host of a page is collected.
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Namespaces of other tests come and go on this machine; Chromium then lets go of what it asks, and pages ask again. */
const CHANGED = "net::ERR_NETWORK_CHANGED";

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGS });

/** `expected` holds statuses that belong to the case, `tolerated` what the console may say in it. */
export async function openPage(browser, base, { width = 1366, height = 850, expected = [], tolerated = null } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, bypassCSP: false });
  const page = await context.newPage();
  const faults = [];
  const host = new URL(base).host;
  page.on("console", (message) => {
    if (message.type() !== "error") return;
    if (expected.length > 0 && /Failed to load resource|EventSource/.test(message.text())) return;
    if (tolerated?.test(message.text()) || message.text().includes(CHANGED)) return;
    faults.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`exception: ${error.message}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith("http") && url.host !== host) faults.push(`foreign host: ${request.url()}`);
  });
  page.on("requestfailed", (request) => {
    // A page that is left lets go of what it asked.
    if (["net::ERR_ABORTED", CHANGED].includes(request.failure()?.errorText)) return;
    if (expected.length === 0) faults.push(`failed: ${request.url()} ${request.failure()?.errorText}`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400 && !expected.includes(response.status())) faults.push(`${response.status()}: ${response.url()}`);
  });
  return { page, faults, close: () => context.close() };
}

/** Loaded: words instead of skeletons. */
export async function settle(page) {
  await page.waitForSelector("main h1", { state: "attached" });
  await page.waitForFunction(() => document.querySelectorAll("main .skel").length === 0, undefined, { timeout: 15_000 });
  await page.evaluate(() => document.fonts.ready);
}

/** Times as machines write them where people read; what is quoted may hold some. */
export function rawTimes(page) {
  return page.evaluate(() => {
    const raw = /\d{4}-\d\d-\d\dT\d\d:\d\d/;
    const found = [];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walk.nextNode(); node; node = walk.nextNode())
      if (raw.test(node.data) && !node.parentElement.closest("code, .mono, script"))
        found.push(`a raw time is shown: ${node.data}`);
    for (const element of document.querySelectorAll("[title], [aria-label]"))
      for (const name of ["title", "aria-label"])
        if (raw.test(element.getAttribute(name) ?? "")) found.push(`a raw time in ${name}: ${element.getAttribute(name)}`);
    if (raw.test(document.title)) found.push(`a raw time in the title: ${document.title}`);
    return found.slice(0, 3);
  });
}

/** Words drawn over other words, outside of pictures and of what floats. */
export function overlaps(page) {
  return page.evaluate(() => {
    const main = document.querySelector("main");
    const range = document.createRange();
    /** What is left of a box inside of all that cuts it off. */
    const clipped = (rect, element) => {
      let { left, top, right, bottom } = rect;
      for (let outer = element; outer && outer !== main; outer = outer.parentElement) {
        if (getComputedStyle(outer).overflowX === "visible") continue;
        const box = outer.getBoundingClientRect();
        [left, right] = [Math.max(left, box.left), Math.min(right, box.right)];
        [top, bottom] = [Math.max(top, box.top), Math.min(bottom, box.bottom)];
      }
      return { left, top, right, bottom };
    };
    const words = [];
    const walk = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
      const element = node.parentElement;
      if (!node.data.trim() || element.closest("svg, .sr, .side, textarea, select") || !element.checkVisibility()) continue;
      range.selectNodeContents(node);
      for (const rect of range.getClientRects())
        words.push({ node, text: node.data.trim().slice(0, 30), ...clipped(rect, element) });
    }
    const meet = (a, b) =>
      a.node !== b.node &&
      Math.min(a.right, b.right) - Math.max(a.left, b.left) > 3 &&
      Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 5;
    return words
      .flatMap((one, index) => words.slice(index + 1).flatMap((other) => (meet(one, other) ? [[one.text, other.text]] : [])))
      .slice(0, 3)
      .map(([one, other]) => `"${one}" and "${other}" are drawn over each other`);
  });
}

/** Looking at contrast takes most of the time, and hangs on theme and width alone. */
const RULES = {
  all: { rules: { "target-size": { enabled: true } } },
  contrast: { runOnly: ["color-contrast"] },
  shape: { rules: { "target-size": { enabled: true }, "color-contrast": { enabled: false } } },
};

/** Whatever keeps people out or in their way: violations of any impact. */
export async function axe(page, kind = "all") {
  // The policy of the page forbids inline scripts; the driver's own channel is not bound by it.
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(await source());
  const found = await page.evaluate((rules) => window.axe.run(document, { resultTypes: ["violations"], ...rules }), RULES[kind]);
  return found.violations.map(
    (one) =>
      `${one.impact} ${one.id}: ${one.nodes
        .slice(0, 3)
        .map((node) => node.html.slice(0, 160))
        .join(" | ")}`,
  );
}

let text = null;
async function source() {
  text ??= await (await import("node:fs/promises")).readFile(AXE, "utf8");
  return text;
}

/** Walks with Tab; each stop must be in sight, marked, and not behind the one before. */
export async function tabOrder(page, stops = 14) {
  const wrong = [];
  await page.evaluate(() => document.body.focus());
  for (let index = 0; index < stops; index++) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate((before) => {
      const element = document.activeElement;
      if (!element || element === document.body) return null;
      const all = [...document.querySelectorAll("*")];
      const style = getComputedStyle(element);
      const box = element.querySelector?.(".box");
      const marked =
        style.outlineStyle !== "none" ||
        style.boxShadow !== "none" ||
        (box && getComputedStyle(box).stroke !== "none") ||
        element.closest(".sel") !== null;
      const rect = element.getBoundingClientRect();
      return {
        name: (element.getAttribute("aria-label") ?? element.textContent ?? element.tagName).slice(0, 40),
        at: all.indexOf(element),
        seen: rect.width > 0 && rect.height > 0,
        marked,
        backwards: all.indexOf(element) < before,
      };
    }, wrong.last ?? -1);
    if (stop === null) break;
    if (!stop.seen) wrong.push(`focus on something unseen: ${stop.name}`);
    if (!stop.marked) wrong.push(`focus is not marked: ${stop.name}`);
    if (stop.backwards) wrong.push(`focus goes back: ${stop.name}`);
    wrong.last = stop.at;
  }
  return [...wrong];
}
