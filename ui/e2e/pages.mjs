// Every page in both themes and languages, wide and narrow; and what its address keeps.
import { axe, overlaps, rawTimes, settle, tabOrder } from "./browser.mjs";

const WIDE = { width: 1366, height: 850 };
const NARROW = { width: 390, height: 844 };
const OTHER = { en: "zh", zh: "en" };
const plus = (path, query) => `${path}${path.includes("?") ? "&" : "?"}${query}`;

/** The pages of a hub; what stands on none of them for lack of an incident or a process is left out. */
export function pagesOf(fault, entity) {
  return [
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
}

/**
 * A page is loaded once a theme and then switched, as people do it. What is quick to see is looked at in each of the eight looks;
 * contrast once a theme and width, whatever else keeps people out once a theme, and once a width.
 */
export async function looks(test, base, { name, path }, shots) {
  for (const [theme, first, size] of [
    ["light", "en", WIDE],
    ["dark", "zh", NARROW],
  ])
    await test(`page ${name} ${theme}`, size, async (page, problems) => {
      await page.goto(base + plus(path, `theme=${theme}&lang=${first}`));
      await settle(page);
      const is = await page.evaluate(() => `${document.documentElement.dataset.theme} ${document.documentElement.lang}`);
      if (is !== `${theme} ${first}`) problems.push(`asked for ${theme} ${first}, it is ${is}`);
      const look = async ({ width, height }, lang) => {
        const told = (found) => problems.push(...found.map((one) => `${width} ${lang}: ${one}`));
        await page.setViewportSize({ width, height });
        await settle(page);
        if (lang === first) told(await axe(page, width === size.width ? "all" : "contrast"));
        told(await rawTimes(page));
        if (lang === "en" && theme === "light") told(await tabOrder(page));
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (wide > 1) told([`the page is ${wide} px wider than the window`]);
        await page.evaluate(() => document.activeElement?.blur?.());
        if (shots) await page.screenshot({ path: `${shots}${name}-${width}-${theme}-${lang}.png`, fullPage: true });
      };
      for (const one of size === WIDE ? [WIDE, NARROW] : [NARROW, WIDE]) await look(one, first);
      await page.setViewportSize(WIDE);
      await page.locator(".top .lang").click();
      await page.waitForFunction((lang) => document.documentElement.lang === lang, OTHER[first]);
      for (const one of [WIDE, NARROW]) await look(one, OTHER[first]);
    });
}

export async function addresses(test, base, { name, path }) {
  await test(`url ${name}`, {}, async (page, problems) => {
    const asked = base + plus(path, "range=30m&table=1");
    const heading = () => page.locator("main h1").first().textContent();
    await page.goto(asked);
    await settle(page);
    const before = await heading();
    const url = page.url();
    await page.reload();
    await settle(page);
    const words = (text) => text.replace(/[\d.,:%×–-]+/g, "#");
    const after = await heading();
    if (words(before) !== words(after)) {
      // A hub in its first minutes, or an incident that ends, may change the answer between two looks; then the first look, had
      // again, shows the new one too.
      await page.goto(asked);
      await settle(page);
      if (words(await heading()) !== words(after)) problems.push(`a link shows something else: "${before}", then "${after}"`);
    }
    for (const { width, height } of [WIDE, NARROW]) {
      await page.setViewportSize({ width, height });
      await settle(page);
      // What is drawn by its size follows a frame after the window.
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      problems.push(...(await overlaps(page)).map((one) => `${width}: ${one}`));
    }
    if (page.url() !== url) problems.push(`the address changed from ${url} to ${page.url()}`);
    for (const part of ["range=30m", "table=1"]) if (!page.url().includes(part)) problems.push(`${part} was lost`);
  });
}
