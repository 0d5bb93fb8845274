// The states a page can be in: empty, broken, loading, stale. Against the fixture, which can be told to be so.
import { axe, settle } from "./browser.mjs";

const PAGES = ["/", "/incidents", "/map", "/entities", "/explore", "/agent"];
/** Pages of one thing; an empty hub has none. */
const OF_ONE = ["/incidents/f-1", "/entities/d1_disk_sdb"];
const must = (truth, text) => {
  if (!truth) throw new Error(text);
};

export async function states(test, base) {
  const mode = (name) => fetch(`${base}/__mode?set=${name}`);
  try {
    await mode("empty");
    for (const path of PAGES)
      await test(`state empty ${path}`, {}, async (page, problems) => {
        await page.goto(base + path);
        await settle(page);
        const words = await page.locator("main .empty, main .starters").count();
        must(words > 0, "an empty page does not say what would appear");
        problems.push(...(await axe(page)));
      });
    await test("state empty: Now does not say that all is well while no host reports", {}, async (page) => {
      await page.goto(base);
      await settle(page);
      must(/not known/.test(await page.locator("main h1").textContent()), "a hub without hosts claims to know");
    });
    await mode("quiet");
    await test("state quiet: Now says that nothing is wrong and what is still learned", {}, async (page) => {
      await page.goto(base);
      await settle(page);
      must(/Nothing is wrong/.test(await page.locator("main h1").textContent()), "the heading is not the answer");
      await page.locator(".note", { hasText: "3 of 12" }).waitFor();
    });

    await mode("starting");
    await test("state starting: Now says what comes and when", { expected: [503] }, async (page, problems) => {
      await page.goto(base);
      await settle(page);
      must(/is starting/.test(await page.locator("main h1").textContent()), "the heading does not say that it starts");
      must((await page.locator(".steps li").count()) >= 4, "what comes is not listed");
      must(!/0 processes/.test(await page.locator(".rail").textContent()), "the rail counts nothing");
      problems.push(...(await axe(page)));
      await mode("learning");
      await page.locator("main h1", { hasText: "Nothing wrong so far" }).waitFor({ timeout: 15_000 });
      await page.locator(".learn", { hasText: "63 of 614" }).waitFor();
      problems.push(...(await axe(page)));
    });

    await mode("error");
    for (const path of [...PAGES.filter((one) => one !== "/explore"), ...OF_ONE])
      await test(`state error ${path}`, { expected: [500] }, async (page, problems) => {
        await page.goto(base + path);
        const broken = page.locator("main .broken").first();
        await broken.waitFor();
        must(/segment 00017/.test(await broken.textContent()), "the message of the hub is not shown");
        must(/[0-9a-f]{6,}/.test(await broken.locator("code").textContent()), "the request id is not shown");
        problems.push(...(await axe(page)));
        await mode("normal");
        // The page asks again by itself, too, and may have been quicker.
        await page.evaluate(() => document.querySelector("main .broken button")?.click());
        await settle(page);
        await page.waitForFunction(() => document.querySelectorAll("main .broken").length === 0, undefined, { timeout: 25_000 });
        await mode("error");
      });

    await mode("slow");
    for (const path of [...PAGES.filter((one) => one !== "/explore"), ...OF_ONE])
      await test(`state loading ${path}`, {}, async (page) => {
        await page.goto(base + path);
        await page.locator("main .skel .lab").first().waitFor({ timeout: 3000 });
        must((await page.locator("main .skel i").count()) >= 2, "the layout is not kept");
      });

    await mode("normal");
    await test("state error: a wrong query shows what is wrong with it", { expected: [400] }, async (page) => {
      await page.goto(`${base}/explore?q=${encodeURIComponent("sum((")}`);
      await page.locator(".broken", { hasText: "unclosed left parenthesis" }).waitFor();
    });

    for (const [name, path, fails, where] of [
      ["the numbers of an incident", "/incidents/f-1", "/metrics$", ".evs .broken"],
      ["the number on Now", "/", "/metrics$", ".kpi .broken"],
      ["the explanation on Now", "/", "^/faults/", ".inc .say .broken"],
      ["what is under the pointer on the map", "/map", "^/entities/[^/]+$", ".dock .broken"],
    ])
      await test(
        `state error: ${name} could not be read, and is not told as empty`,
        { expected: [500] },
        async (page, problems) => {
          await fetch(`${base}/__fail?path=${encodeURIComponent(fails)}`);
          await page.goto(base + path);
          await page.locator(where).first().waitFor({ timeout: 15_000 });
          await settle(page);
          await page.waitForFunction(() => !/Asking the hub/.test(document.querySelector("main").textContent));
          must((await page.locator(".nodata", { hasText: "no samples" }).count()) === 0, "it is told as empty");
          problems.push(...(await axe(page)));
          await fetch(`${base}/__fail`);
          await page.locator(where).first().getByRole("button").click();
          await page.waitForFunction((gone) => document.querySelectorAll(gone).length === 0, where, { timeout: 25_000 });
        },
      );
    await fetch(`${base}/__fail`);

    await test("state stale: a hub that stops answering without a word is said", {}, async (page) => {
      await page.goto(base);
      await settle(page);
      await fetch(`${base}/__drop?silent=1`);
      await mode("slow");
      await page.locator(".stale").waitFor({ timeout: 60_000 });
      must(/not live/.test(await page.locator(".rail .foot").textContent()), "the frame says live");
      await mode("normal");
      await page.locator(".stale").waitFor({ state: "detached", timeout: 20_000 });
      await fetch(`${base}/__drop`);
    });

    await test(
      "state stale: a lost stream is said, and forgotten when it is back",
      { expected: [503] },
      async (page, problems) => {
        await page.goto(base);
        await settle(page);
        await fetch(`${base}/__drop?refuse=1`);
        await page.locator(".stale").waitFor({ timeout: 20_000 });
        must((await page.locator(".dimmed").count()) === 1, "what is old is not dimmed");
        problems.push(...(await axe(page)));
        await page.locator("#said", { hasText: "is lost" }).waitFor({ state: "attached" });
        await fetch(`${base}/__drop?refuse=0`);
        await page.locator(".stale").waitFor({ state: "detached", timeout: 20_000 });
      },
    );
  } finally {
    await mode("normal");
    await fetch(`${base}/__drop?refuse=0`);
    await fetch(`${base}/__fail`);
  }
}
