// What the interface must not claim: against the fixture, which can be told to be blind, or be asked about long ago.
import { axe, settle } from "./browser.mjs";

const must = (truth, text) => {
  if (!truth) throw new Error(text);
};
const HOUR = 3_600_000;

export async function truths(test, base) {
  const mode = (name) => fetch(`${base}/__mode?set=${name}`);
  const heading = (page) => page.locator("main h1:not(.sr)").first().textContent();
  const go = async (page, path) => {
    await page.goto(base + path);
    await settle(page);
  };
  try {
    await mode("blind");
    await test("state blind: Now names every part that does not work", {}, async (page, problems) => {
      await go(page, "/");
      must(/not known/.test(await heading(page)), "a blind hub claims to know");
      for (const part of ["store", "detection"]) await page.locator(".more li", { hasText: part }).waitFor();
      must((await page.locator("main .more li").count()) === 2, "parts that work are listed too");
      problems.push(...(await axe(page)));
    });
    await mode("quiet");
    await test("state blind: Now does not claim anything when the health cannot be read", { expected: [500] }, async (page) => {
      await fetch(`${base}/__fail?path=^/health$`);
      await page.goto(base);
      await page.locator("main h1", { hasText: "not known" }).waitFor();
      await page.locator("main .broken", { hasText: "segment 00017" }).waitFor();
      await fetch(`${base}/__fail`);
      await page.locator("main .broken").getByRole("button").click();
      await page.locator("main h1", { hasText: "Nothing is wrong" }).waitFor();
    });
    await fetch(`${base}/__fail`);

    await mode("normal");
    await test("state past: nothing is claimed of a time nobody watched", {}, async (page) => {
      const ago = (hours) => Date.now() - hours * HOUR;
      await go(page, `/?at=${ago(5)}`);
      must(/Nothing was wrong then\./.test(await heading(page)), "a watched hour without incident is not told so");
      must((await page.locator("main .note").count()) === 0, "what is now stands in the past");
      await go(page, `/?at=${ago(24 * 20)}`);
      must(/not known/.test(await heading(page)), "something is claimed of a time before gala");
      await go(page, `/?at=${ago(24 * 12)}&range=2d`);
      must(/as far as is known/.test(await heading(page)), "a window watched in part is told as watched");
      await go(page, `/?at=${ago(3)}&range=30m`);
      must(/redis suffered/.test(await heading(page)), "an incident of then is not told");
    });
    await test("state past: what was not there yet is told so, and now is one click away", { expected: [404] }, async (page) => {
      await page.goto(`${base}/entities/d1_disk_sdb?at=${Date.now() - 24 * 20 * HOUR}`);
      await page.locator("main h1", { hasText: "Nothing is known of it at this time" }).waitFor();
      await page.locator("main .way button").click();
      await page.waitForURL((url) => !url.searchParams.has("at"));
      await page.locator("main h1", { hasText: "sdb" }).waitFor();
    });
    await test("state past: times carry their date, and the window says its days", {}, async (page) => {
      await go(page, "/entities/d1_disk_sdb?range=1d");
      for (const text of await page.locator(".tbar .tk").allTextContents())
        must(/^\d\d-\d\d \d\d:\d\d$/.test(text), `tick ${text}`);
      must(
        /\d{4}-\d\d-\d\d .* – \d{4}-/.test(await page.locator(".sec header .r").first().textContent()),
        "no date in the window",
      );
    });
    await test("state filter: how many are open does not hang on what is shown", {}, async (page) => {
      await go(page, "/incidents?state=closed");
      must(/One incident is open/.test(await heading(page)), "the open one is not counted");
    });
    await test("state not judged: an entity without a check is not told to be normal", {}, async (page) => {
      await go(page, "/entities/a2_proc_2351");
      must(/not judged/.test(await heading(page)), "nobody judges it, and it is told to be normal");
    });

    await mode("warned");
    await test("state warning: an incident has one severity wherever it is drawn", {}, async (page, problems) => {
      const amber = () =>
        page.evaluate(() => {
          const probe = document.body.appendChild(Object.assign(document.createElement("i"), { className: "warn" }));
          const color = getComputedStyle(probe).color;
          probe.remove();
          return color;
        });
      const badge = () => page.evaluate(() => getComputedStyle(document.querySelector("main .bdg")).backgroundColor);
      await go(page, "/");
      await page.locator(".inc .l.wrn").first().waitFor();
      must((await page.locator(".inc .l.bad, .inc .big.crit, .inc .st.crit").count()) === 0, "Now draws a warning as critical");
      must((await badge()) === (await amber()), "the badges of a warning are not amber");
      await go(page, "/incidents/f-1");
      await page.locator(".evs .l.wrn").first().waitFor();
      must((await page.locator(".evs .l.bad").count()) === 0, "the evidence draws a warning as critical");
      must((await badge()) === (await amber()), "the badges of a warning are not amber");
      problems.push(...(await axe(page)));
    });
    await test("state event: what only happened is told so, and no number of it is asked for", {}, async (page) => {
      const asked = [];
      page.on("request", (request) => asked.push(request.url()));
      await go(page, "/incidents/f-1");
      await page.locator(".ev.first .hidden-why", { hasText: "told by an event" }).waitFor();
      await go(page, "/");
      await page.locator(".chain li", { hasText: "event" }).first().waitFor();
      must(!asked.some((url) => url.includes("virtual_metric")), "a number is asked for that nothing measures");
    });
    await mode("normal");

    await test("state upgraded: a page that cannot be read is said, and read when the hub is back", {
      expected: [404, 503],
      tolerated: /./,
    }, async (page) => {
      await page.route(/\/assets\/MapPage/, (route) =>
        route.fulfill({ status: 404, contentType: "application/json", body: "{}" }),
      );
      await go(page, "/incidents");
      await page.locator('.rail a[href^="/map"]').click();
      await page.locator("main h1", { hasText: "could not be read" }).waitFor({ timeout: 20_000 });
      must(!/dynamically imported/.test(await page.locator("main").textContent()), "the browser's own words are shown");
      await page.unroute(/\/assets\/MapPage/);
      await fetch(`${base}/__drop?refuse=1`);
      await page.locator(".stale").waitFor({ timeout: 20_000 });
      await fetch(`${base}/__drop?refuse=0`);
      await page.locator(".panes .node").first().waitFor({ timeout: 30_000 });
    });
  } finally {
    await mode("normal");
    await fetch(`${base}/__fail`);
    await fetch(`${base}/__drop?refuse=0`);
  }
}
