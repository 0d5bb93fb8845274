// Browser tests. `node e2e/run.mjs` runs against the fixture; with GALA_URL set, against that hub (states that need a broken hub
// are then skipped and said so). `--only TEXT` runs the cases whose name holds the text. Exit code 1 when a case fails.
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { access } from "./access.mjs";
import { axe, launch, openPage, rawTimes, settle, tabOrder } from "./browser.mjs";
import { start } from "./fixture-server.mjs";
import { journeys } from "./journeys.mjs";
import { states } from "./states.mjs";
import { truths } from "./truths.mjs";

const SHOTS = fileURLToPath(new URL("./shots/", import.meta.url));
const only = process.argv.includes("--only") ? process.argv[process.argv.indexOf("--only") + 1] : null;
const fixture = process.env.GALA_URL ? null : await start();
const base = process.env.GALA_URL?.replace(/\/$/, "") ?? fixture.url;
mkdirSync(SHOTS, { recursive: true });

const browser = await launch();
let failed = 0;
let passed = 0;
let skipped = 0;

/** One case; it fails by what it throws or by what the page complained of. */
async function test(name, options, body) {
  if (only && !name.includes(only)) return;
  const opened = await openPage(browser, base, options);
  const problems = [];
  try {
    const answer = await body(opened.page, problems);
    if (typeof answer === "string") {
      skipped++;
      process.stdout.write(`skipped: ${name}: ${answer}\n`);
      return;
    }
  } catch (error) {
    problems.push(error.message.split("\n").slice(0, 6).join("\n  "));
    await opened.page.screenshot({ path: `${SHOTS}failed-${name.replace(/[^\w-]+/g, "_")}.png` }).catch(() => {});
  } finally {
    problems.push(...new Set(opened.faults));
    await opened.close();
  }
  if (problems.length > 0) {
    failed++;
    process.stdout.write(`FAILED: ${name}\n  ${problems.join("\n  ")}\n`);
  } else passed++;
}

const ask = async (path) => {
  const response = await fetch(`${base}/api/v1${path}`);
  return response.ok ? response.json() : null;
};
const fault = (await ask("/faults?limit=1"))?.items[0] ?? null;
const entity = fault
  ? { id: fault.cause?.entity_id ?? fault.entity_id }
  : ((await ask("/entities?type=proc&limit=1"))?.items[0] ?? null);
const pages = [
  { name: "now", path: "/" },
  { name: "incidents", path: "/incidents" },
  fault ? { name: "incident", path: `/incidents/${encodeURIComponent(fault.id)}` } : null,
  { name: "map", path: fault ? `/map?path=${encodeURIComponent(fault.id)}&rates=1` : "/map?rates=1" },
  { name: "entities", path: "/entities" },
  entity ? { name: "panel", path: `/entities?panel=${encodeURIComponent(entity.id)}` } : null,
  entity ? { name: "entity", path: `/entities/${encodeURIComponent(entity.id)}` } : null,
  { name: "explore", path: `/explore?q=${encodeURIComponent("gala_gopher_disk_w_await")}` },
  { name: "agent", path: "/agent" },
].filter((page) => page !== null);
if (!fault) process.stdout.write("skipped: page incident: no incident on this hub\n");

for (const { name, path } of pages)
  for (const width of [1366, 390])
    for (const theme of ["light", "dark"])
      for (const lang of ["en", "zh"])
        await test(
          `page ${name} ${width} ${theme} ${lang}`,
          { width, height: width === 390 ? 844 : 850 },
          async (page, problems) => {
            await page.goto(`${base}${path}${path.includes("?") ? "&" : "?"}theme=${theme}&lang=${lang}`);
            await settle(page);
            await page.waitForTimeout(300);
            problems.push(...(await axe(page)));
            problems.push(...(await rawTimes(page)));
            if (lang === "en" && theme === "light") problems.push(...(await tabOrder(page)));
            const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
            if (wide > 1) problems.push(`the page is ${wide} px wider than the window`);
            await page.evaluate(() => document.activeElement?.blur?.());
            await page.screenshot({ path: `${SHOTS}${name}-${width}-${theme}-${lang}.png`, fullPage: true });
          },
        );

for (const { name, path } of pages)
  await test(`url ${name}`, {}, async (page, problems) => {
    const asked = `${path}${path.includes("?") ? "&" : "?"}range=30m&table=1`;
    await page.goto(base + asked);
    await settle(page);
    const before = await page.locator("main h1").first().textContent();
    const url = page.url();
    await page.reload();
    await settle(page);
    const words = (text) => text.replace(/[\d.,:%×–-]+/g, "#");
    const after = await page.locator("main h1").first().textContent();
    if (words(before) !== words(after)) {
      // A hub in its first minutes, or an incident that ends, may change the answer between two looks; then the first look, had
      // again, shows the new one too.
      await page.goto(base + asked);
      await settle(page);
      const again = await page.locator("main h1").first().textContent();
      if (words(again) !== words(after)) problems.push(`a link shows something else: "${before}", then "${after}"`);
    }
    if (page.url() !== url) problems.push(`the address changed from ${url} to ${page.url()}`);
    for (const part of ["range=30m", "table=1"]) if (!page.url().includes(part)) problems.push(`${part} was lost`);
  });

await journeys(test, base, fault, entity);
if (fixture) {
  await states(test, base);
  await truths(test, base);
  await access(test, base);
} else process.stdout.write("skipped: states empty, error, loading, stale: they need a hub that is empty or broken\n");

await browser.close();
fixture?.close();
process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`);
process.exitCode = failed > 0 ? 1 : 0;
