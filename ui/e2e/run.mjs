// Browser tests. `node e2e/run.mjs` runs against the fixture; with GALA_URL set, against that hub (states that need a broken hub
// are then skipped and said so). `--only TEXT`, also more than once, runs the cases whose name holds a text; `--shots` keeps a
// picture of every look, without it only of what fails. Exit code 1 when a case fails.
import { mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { access, unwatched } from "./access.mjs";
import { launch, openPage } from "./browser.mjs";
import { start } from "./fixture-server.mjs";
import { journeys } from "./journeys.mjs";
import { addresses, looks, pagesOf } from "./pages.mjs";
import { states } from "./states.mjs";
import { truths } from "./truths.mjs";

const SHOTS = fileURLToPath(new URL("./shots/", import.meta.url));
/** Cases at once: many wait for the clock of the interface, and each processor draws pages for about two. */
const LANES = Math.max(1, Math.min(4, 2 * availableParallelism()));
const SLOWEST = 5;
const only = process.argv.flatMap((word, at, all) => (word === "--only" ? [all[at + 1]] : []));
const shots = process.argv.includes("--shots") ? SHOTS : null;
const hub = process.env.GALA_URL?.replace(/\/$/, "");
mkdirSync(SHOTS, { recursive: true });

const browser = await launch();
const took = [];
let failed = 0;
let passed = 0;
let skipped = 0;

/** Runs one case; it fails by what it throws or by what the page complained of. */
const testAt = (base) => async (name, options, body) => {
  if (only.length > 0 && !only.some((text) => name.includes(text))) return;
  const begun = performance.now();
  const problems = [];
  let opened;
  let answer;
  // What goes wrong here, also in opening and closing, is this case's: other lanes go on.
  try {
    opened = await openPage(browser, base, options);
    answer = await body(opened.page, problems);
  } catch (error) {
    problems.push(error.message.split("\n").slice(0, 6).join("\n  "));
  }
  problems.push(...new Set(opened?.faults ?? []));
  if (problems.length > 0)
    await opened?.page.screenshot({ path: `${SHOTS}failed-${name.replace(/[^\w-]+/g, "_")}.png` }).catch(() => {});
  await opened?.close().catch((error) => problems.push(error.message));
  took.push({ name, seconds: (performance.now() - begun) / 1000 });
  if (problems.length > 0) {
    failed++;
    process.stdout.write(`FAILED: ${name}\n  ${problems.join("\n  ")}\n`);
  } else if (typeof answer === "string") {
    skipped++;
    process.stdout.write(`skipped: ${name}: ${answer}\n`);
  } else passed++;
};

/** Each lane has a hub of its own, so that one may be told to be broken while others are not. */
const fixtures = hub ? [] : await Promise.all(Array.from({ length: LANES }, () => start()));
const bases = hub ? Array.from({ length: LANES }, () => hub) : fixtures.map((one) => one.url);
const ask = async (path) => {
  const response = await fetch(`${bases[0]}/api/v1${path}`);
  return response.ok ? response.json() : null;
};
const fault = (await ask("/faults?limit=1"))?.items[0] ?? null;
const entity = fault
  ? { id: fault.cause?.entity_id ?? fault.entity_id }
  : ((await ask("/entities?type=proc&limit=1"))?.items[0] ?? null);
if (!fault) process.stdout.write("skipped: page incident: no incident on this hub\n");
if (hub) process.stdout.write("skipped: states empty, error, loading, stale: they need a hub that is empty or broken\n");

const pages = pagesOf(fault, entity);
// What waits longest begins first.
const work = [
  ...(hub ? [] : [unwatched, states, truths, access]),
  (test, base) => journeys(test, base, fault, entity),
  ...pages.map((page) => (test, base) => looks(test, base, page, shots)),
  ...pages.map((page) => (test, base) => addresses(test, base, page)),
];
await Promise.all(
  bases.map(async (base) => {
    for (let next = work.shift(); next; next = work.shift()) await next(testAt(base), base);
  }),
);

await browser.close();
for (const one of fixtures) one.close();
for (const text of only.filter((text) => !took.some(({ name }) => name.includes(text)))) {
  failed++;
  process.stdout.write(`FAILED: no case is named "${text}"\n`);
}
took.sort((a, b) => b.seconds - a.seconds);
for (const { name, seconds } of took.slice(0, SLOWEST)) process.stdout.write(`${seconds.toFixed(1)} s: ${name}\n`);
process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`);
process.exitCode = failed > 0 ? 1 : 0;
